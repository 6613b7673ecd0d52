import { sqlStateOf } from '@waypost/runtime';
import pg from 'pg';
import type { Random } from '../../scripts/fleet/random.js';
import type { Mutation } from './mutations.js';
import type { Tally } from './tally.js';

/** A writer that meets another's lock steps back: one schedule for all of them must not wait. */
const LOCK_TIMEOUT_MS = 50;
/** Lock timeout, deadlock, serialization failure, and central's own constraints: the transaction is rolled back. */
const REFUSED = /^(23|40|55P03)/;
const ISOLATION = ['READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ'] as const;

/** Connections that write to central side by side: transactions overlap, stay open, roll back, are prepared and end on another connection. */
export class Writers implements AsyncDisposable {
  private readonly open = new Set<pg.Client>();
  private prepared: string[] = [];
  private preparations = 0;

  private constructor(
    private readonly clients: readonly pg.Client[],
    private readonly random: Random,
    private readonly tally: Tally,
    private readonly canPrepare: boolean,
  ) {}

  static async connect(url: string, size: number, random: Random, tally: Tally): Promise<Writers> {
    const clients: pg.Client[] = [];
    for (let at = 0; at < size; at += 1) {
      const client = new pg.Client({ connectionString: url, application_name: `writer ${at}` });
      await client.connect();
      await client.query(`SET lock_timeout = ${LOCK_TIMEOUT_MS}`);
      clients.push(client);
    }
    const { rows } = await (clients[0] as pg.Client).query<{ most: string }>("SELECT current_setting('max_prepared_transactions') AS most");
    return new Writers(clients, random, tally, Number(rows[0]?.most) > 0);
  }

  /** One writer takes its next step: a statement, and the begin or the end of its transaction where the seed says so. */
  async step(mutation: Mutation): Promise<void> {
    const { random } = this;
    const client = random.pick(this.clients);
    if (random.chance(0.15)) await this.endPrepared();
    if (mutation.isExclusive) return this.runAlone(client, mutation);
    if (!this.open.has(client)) {
      if (random.chance(0.3)) return void (await this.run(client, mutation, 'autocommit'));
      await this.begin(client);
    }
    await this.runInside(client, mutation);
    if (this.open.has(client) && random.chance(0.45)) await this.end(client);
  }

  /** Ends every transaction, each in its own way. */
  async finish(): Promise<void> {
    for (const client of this.open) await this.end(client);
    while (this.prepared.length > 0) await this.endPrepared();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.clients) await client.end();
  }

  private async begin(client: pg.Client): Promise<void> {
    await client.query(`BEGIN ISOLATION LEVEL ${this.random.pick(ISOLATION)}`);
    this.open.add(client);
  }

  private async runAlone(client: pg.Client, mutation: Mutation): Promise<void> {
    if (this.open.has(client)) await this.end(client);
    await client.query('BEGIN');
    this.open.add(client);
    await this.run(client, mutation, 'alone');
    if (this.open.has(client)) await this.finishWith(client, this.random.chance(0.2) ? 'ROLLBACK' : 'COMMIT');
  }

  private async runInside(client: pg.Client, mutation: Mutation): Promise<void> {
    const inSavepoint = this.random.chance(0.2);
    const isUndone = this.random.chance(0.5);
    if (!inSavepoint) return void (await this.run(client, mutation, 'in a transaction'));
    await client.query('SAVEPOINT here');
    if (!(await this.run(client, mutation, 'in a savepoint'))) return;
    await client.query(`${isUndone ? 'ROLLBACK TO' : 'RELEASE'} here`);
  }

  /** @returns false when central refused it: then no transaction is open any more */
  private async run(client: pg.Client, { kind, sql }: Mutation, where: string): Promise<boolean> {
    this.tally.add('mutations', kind);
    try {
      await client.query(sql);
      return true;
    } catch (error) {
      if (!REFUSED.test(sqlStateOf(error) ?? '')) throw new Error(`central refuses a mutation, ${kind} ${where}: ${sql}`, { cause: error });
      this.tally.add('refused mutations', kind);
      if (this.open.delete(client)) await client.query('ROLLBACK');
      return false;
    }
  }

  private async end(client: pg.Client): Promise<void> {
    const way = this.random.fraction();
    if (way < 0.6) return this.finishWith(client, 'COMMIT');
    if (way < 0.8 || !this.canPrepare) return this.finishWith(client, 'ROLLBACK');
    this.preparations += 1;
    const name = `oracle_${this.preparations}`;
    await this.finishWith(client, `PREPARE TRANSACTION '${name}'`);
    this.prepared.push(name);
  }

  private async finishWith(client: pg.Client, statement: string): Promise<void> {
    this.tally.add('transactions', statement.split(' ')[0] as string);
    this.open.delete(client);
    await client.query(statement);
  }

  private async endPrepared(): Promise<void> {
    const name = this.prepared.shift();
    if (name === undefined) return;
    const client = this.clients.find((other) => !this.open.has(other));
    if (!client) return void this.prepared.unshift(name);
    const way = this.random.chance(0.7) ? 'COMMIT' : 'ROLLBACK';
    this.tally.add('transactions', `${way} PREPARED`);
    await client.query(`${way} PREPARED '${name}'`);
  }
}
