import { setTimeout as delay } from 'node:timers/promises';
import { SqlState, sqlStateOf } from '@waypost/runtime';
import type pg from 'pg';

/** A table of a plan, and what of it one device may see. */
export interface SharedTable {
  name: string;
  /** Quoted, ready for ORDER BY. */
  key: string;
  /** As in the plan, of the parameter :site_id; all rows without it. */
  where?: string;
}

/** How long a reader rests after its snapshot: what is committed meanwhile must not show in its rows. */
const REST_MS = 10;

interface Look {
  lock: boolean;
  restMs: number;
}

/**
 * Every state that central's tables were in, in order, and a reader on the device that compares: at each moment it must see one of
 * them, complete and in all tables together, and never an older one than before.
 */
export class StateHistory {
  private readonly states: string[] = [];
  /** The last state that the reader saw. */
  private seen = 0;
  private reading: Promise<void> | undefined;
  private stopped = false;
  private failure: Error | undefined;
  /** How often the reader has looked. */
  looks = 0;

  constructor(
    private readonly tables: readonly SharedTable[],
    private readonly siteId: number,
    private readonly central: pg.Pool,
    private readonly edge: pg.Pool,
  ) {}

  /** Changes central's tables in one transaction; only from here, and not at the same time as another change. */
  async change(sql: string): Promise<void> {
    const client = await this.central.connect();
    try {
      await client.query(`BEGIN; ${sql}`);
      this.states.push(await this.describe(client, ({ where = 'true' }) => where.replaceAll(':site_id', String(this.siteId))));
      await client.query('COMMIT');
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    } finally {
      client.release();
    }
  }

  get latest(): string {
    return this.states.at(-1) as string;
  }

  /** Whether the device holds what central holds, row for row. */
  async isEqual(): Promise<boolean> {
    const state = await this.look({ lock: false, restMs: 0 }).catch((error: unknown) => {
      if (sqlStateOf(error) === SqlState.undefinedTable) return 'no tables yet';
      throw error;
    });
    return state === this.latest;
  }

  /**
   * Looks again and again until `stop`.
   * @param lock whether readers take their table locks before their snapshot: against TRUNCATE nothing else gives a reader one state
   */
  watch(lock: boolean): void {
    this.stopped = false;
    this.reading = this.read(lock);
  }

  /** @throws Error with what the reader saw when it was no state of central's */
  async stop(): Promise<void> {
    this.stopped = true;
    await this.reading;
    this.check();
  }

  check(): void {
    if (this.failure) throw this.failure;
  }

  private async read(lock: boolean): Promise<void> {
    try {
      while (!this.stopped) {
        this.judge(await this.look({ lock, restMs: REST_MS }));
      }
    } catch (error) {
      this.failure = error as Error;
    }
  }

  private judge(state: string): void {
    this.looks += 1;
    const at = this.states.indexOf(state, this.seen);
    if (at >= 0) this.seen = at;
    else if (this.states.includes(state)) throw new Error(`A reader saw an older state than before:\n${state}`);
    else throw new Error(`A reader saw what central never held:\n${state}\ninstead of\n${this.states[this.seen]}\nor\n${this.latest}`);
  }

  private async look({ lock, restMs }: Look): Promise<string> {
    const client = await this.edge.connect();
    try {
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
      if (lock) await client.query(`LOCK TABLE ${this.tables.map(({ name }) => name).join(', ')} IN ACCESS SHARE MODE`);
      await client.query('SELECT pg_current_snapshot()');
      await delay(restMs);
      return await this.describe(client, () => 'true');
    } finally {
      await client.query('COMMIT').catch(() => undefined);
      client.release();
    }
  }

  /** Count and hash of each table, one statement each: were they not of one moment, it would show. */
  private async describe(client: pg.ClientBase, whereOf: (table: SharedTable) => string): Promise<string> {
    const lines: string[] = [];
    for (const table of this.tables) {
      const { rows } = await client.query<{ line: string }>(
        `SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY ${table.key})), '-') AS line
         FROM ${table.name} AS t WHERE ${whereOf(table)}`,
      );
      lines.push(`${table.name}: ${rows[0]?.line}`);
    }
    return lines.join('\n');
  }
}
