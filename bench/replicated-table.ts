import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Cost } from './costs.js';
import { CountingProxy } from './counting-proxy.js';
import { TABLE } from './dataset.js';
import { type Servers, withClient } from './servers.js';

const POLL_MS = 1;

/**
 * PostgreSQL's logical replication of a table, over a proxy that counts. The table is one of its own, in databases of its own: what is changed
 * here changes nothing for others. A table beside it tells the subscriber which transaction it has applied.
 */
export class ReplicatedTable implements AsyncDisposable {
  private marks = 0;

  private constructor(
    private readonly central: string,
    private readonly edge: string,
    private readonly wire: CountingProxy,
  ) {}

  /** @param fill makes the table at central. @param create makes it at the edge. Returns when the initial copy is done. */
  static async start(
    servers: Servers,
    database: string,
    { fill, create }: Record<'fill' | 'create', (client: pg.Client) => Promise<void>>,
  ): Promise<ReplicatedTable> {
    await servers.createDatabases(database);
    const [central, edge] = [servers.urlOf('central', database), servers.urlOf('edge', database)];
    await withClient(central, async (client) => {
      await fill(client);
      await client.query('CREATE TABLE marks (id int PRIMARY KEY)');
      await client.query(`CREATE PUBLICATION replicated FOR TABLE ${TABLE}, marks`);
    });
    const wire = await CountingProxy.start(central);
    const viaWire = new URL(central);
    viaWire.port = String(wire.port);
    await withClient(edge, async (client) => {
      await create(client);
      await client.query('CREATE TABLE marks (id int PRIMARY KEY)');
      await client.query(`CREATE SUBSCRIPTION replicated CONNECTION ${pg.escapeLiteral(viaWire.href)} PUBLICATION replicated`);
      while (await exists(client, "pg_subscription_rel WHERE srsubstate <> 'r'")) await sleep(POLL_MS);
    });
    return new ReplicatedTable(central, edge, wire);
  }

  /** Time from COMMIT until the subscriber shows the change; bytes from before it on, for the publisher may send earlier. */
  async apply(change: (client: pg.Client) => Promise<void>): Promise<Cost> {
    return withClient(this.edge, (edge) =>
      withClient(this.central, async (central) => {
        this.marks += 1;
        this.wire.takeBytes();
        await central.query('BEGIN');
        await change(central);
        await central.query('INSERT INTO marks VALUES ($1)', [this.marks]);
        const startedAt = performance.now();
        await central.query('COMMIT');
        while (!(await exists(edge, `marks WHERE id = ${this.marks}`))) await sleep(POLL_MS);
        return { ms: performance.now() - startedAt, bytes: this.wire.takeBytes() };
      }),
    );
  }

  /** The subscriber lets go of the publisher, which could not stop before. */
  async [Symbol.asyncDispose](): Promise<void> {
    await withClient(this.edge, (client) => client.query('DROP SUBSCRIPTION replicated')).catch(() => undefined);
    await this.wire[Symbol.asyncDispose]();
  }
}

async function exists(client: pg.Client, rows: string): Promise<boolean> {
  const { rowCount } = await client.query(`SELECT FROM ${rows} LIMIT 1`);
  return rowCount === 1;
}
