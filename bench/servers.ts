import { join } from 'node:path';
import pg from 'pg';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../scripts/embedded-postgres.js';

export type Side = 'central' | 'edge';

/**
 * Equal on both sides, and PostgreSQL's defaults otherwise (fsync is on): one checkpoint between measurements instead of some within
 * them, and no autovacuum that would work for one way at the time of another.
 */
const SETTINGS = { max_wal_size: '8GB', checkpoint_timeout: '1h', autovacuum: 'off' };

/** Printed with the results. */
const SHOWN = `
  SELECT name, current_setting(name) AS value FROM pg_settings
  WHERE name IN ('wal_level', 'fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers', 'max_wal_size', 'checkpoint_timeout', 'autovacuum', 'jit')
  ORDER BY name`;

/** Both PostgreSQL servers of a run. */
export class Servers implements AsyncDisposable {
  private constructor(
    readonly central: EmbeddedPostgres,
    readonly edge: EmbeddedPostgres,
  ) {}

  /**
   * @param signal ends them, and with them what runs on them
   * @param settings more of them, of both servers
   */
  static async start(folder: string, signal: AbortSignal, settings: Readonly<Record<string, string>> = {}): Promise<Servers> {
    const common = { ...SETTINGS, ...settings };
    // Logical replication, one of the peers, needs more in central's write-ahead log.
    const central = await startEmbeddedPostgres({ folder: join(folder, 'central'), settings: { ...common, wal_level: 'logical' } });
    try {
      const servers = new Servers(central, await startEmbeddedPostgres({ folder: join(folder, 'edge'), settings: common }));
      signal.addEventListener('abort', () => void servers[Symbol.asyncDispose](), { once: true });
      if (!signal.aborted) return servers;
      await servers.edge.stop();
      throw signal.reason;
    } catch (error) {
      await central.stop();
      throw error;
    }
  }

  get version(): string {
    return this.central.version;
  }

  /** Creates a database of this name on each side. */
  async createDatabases(name: string): Promise<void> {
    await this.onBoth((client) => client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}`));
  }

  urlOf(side: Side, database: string): string {
    return new URL(`/${database}`, this[side].url).href;
  }

  /** Writes out what the last measurement left in memory, so that the next one does not pay for it. */
  async checkpoint(): Promise<void> {
    await this.onBoth((client) => client.query('CHECKPOINT'));
  }

  async settings(): Promise<Record<Side, Record<string, string>>> {
    const [central, edge] = await this.onBoth((client) => client.query<{ name: string; value: string }>(SHOWN));
    const toObject = (rows: { name: string; value: string }[]) => Object.fromEntries(rows.map(({ name, value }) => [name, value]));
    return { central: toObject(central.rows), edge: toObject(edge.rows) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.central.stop(), this.edge.stop()]);
  }

  private async onBoth<T>(work: (client: pg.Client) => Promise<T>): Promise<[T, T]> {
    return Promise.all([withClient(this.central.url, work), withClient(this.edge.url, work)]);
  }
}

/** Runs `work` with a connection of its own. */
export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, application_name: 'waypost-bench' });
  client.on('error', () => undefined); // the running statement rejects as well
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
