import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import type { Random } from '../../scripts/fleet/random.js';
import { withClient } from '../../scripts/with-client.js';
import { type ApplicationSchema, SHOP } from '../schemas/application-schema.js';
import type { SideDatabase, TestServer } from './postgres.js';
import { post, Service } from './service.js';
import { temporaryFolder } from './temporary-folder.js';
import { waypost } from './waypost.js';

const MAC = '48:b0:2d:e9:c3:b7';
/** The owner's tables are readable for the service, as docs/moving-an-application.md asks for. */
const GRANTS = `
  ALTER DEFAULT PRIVILEGES FOR ROLE owner GRANT SELECT ON TABLES TO waypost`;
const GRANT_REFERENCES = 'GRANT SELECT, REFERENCES ON ALL TABLES IN SCHEMA public TO owner';
/** What may fail at central by its own constraints: the change is none then. */
const CONSTRAINT_VIOLATED = /^(23|09000|27000)/;

export interface SyncAnswer {
  status: string | number;
  code?: string;
  detail?: string;
  hint?: string;
}

interface PairOptions {
  server: TestServer;
  schema: ApplicationSchema;
  strategy: 'auto' | 'merge';
  /** Central's changes are captured by triggers. */
  captured: boolean;
  /** Whether the device has the application's schema beforehand; else the service makes the tables. */
  preloaded: boolean;
}

/** Rows of tables as texts, sorted, by table. */
export type Contents = Record<string, string[]>;

/** Both services over an application's schema, and what PostgreSQL alone says that both databases hold. */
export class ApplicationPair implements AsyncDisposable {
  private columnsFound: ReadonlyMap<string, string> | undefined;

  private constructor(
    private readonly schema: ApplicationSchema,
    readonly central: SideDatabase,
    readonly edge: SideDatabase,
    private readonly preloaded: boolean,
    private readonly services: { central: Service; edge: Service },
    private readonly stack: AsyncDisposableStack,
  ) {}

  static async start({ server, schema, strategy, captured, preloaded }: PairOptions): Promise<ApplicationPair> {
    await using stack = new AsyncDisposableStack();
    const folder = stack.use(await temporaryFolder());
    const [central, edge] = [await server.createSide('central'), await server.createSide('edge')];
    const devices = `CREATE TABLE devices (mac macaddr PRIMARY KEY, shop int NOT NULL); INSERT INTO devices VALUES ('${MAC}', ${SHOP});`;
    await run(central.ownerUrl, devices + schema.central);
    await run(edge.url, GRANTS);
    if (preloaded) await run(edge.serviceUrl, `${schema.device}; ${GRANT_REFERENCES}`);
    const plan = join(folder.path, 'plan.yaml');
    await writeFile(plan, planOf(schema, captured));
    if (captured) await installCapture(central, plan);
    const centralService = stack.use(
      await Service.start('central-api', {
        DATABASE_URL: central.serviceUrl,
        SYNC_PLAN: plan,
        SNAPSHOT_STORE: `file:${join(folder.path, 'snapshots')}`,
      }),
    );
    const edgeService = stack.use(
      await Service.start('edge-service', {
        DATABASE_URL: edge.serviceUrl,
        CENTRAL_URL: centralService.url,
        DEVICE_MAC: MAC,
        SYNC_INTERVAL: '0',
        LOAD_STRATEGY: strategy,
        DOWNLOAD_DIR: join(folder.path, 'downloads'),
        IDENTITY_DIR: join(folder.path, 'identity'),
      }),
    );
    return new ApplicationPair(schema, central, edge, preloaded, { central: centralService, edge: edgeService }, stack.move());
  }

  async sync(): Promise<SyncAnswer> {
    return (await post<SyncAnswer>(`${this.services.edge.url}/api/sync/now`)).body;
  }

  /** @returns false when central's own constraints refuse the change */
  async changeCentral(sql: string): Promise<boolean> {
    // Only a superuser may choose its session_replication_role.
    const url = sql.includes('session_replication_role') ? this.central.url : this.central.ownerUrl;
    try {
      await run(url, `BEGIN; ${sql}; COMMIT`);
      return true;
    } catch (error) {
      if (CONSTRAINT_VIOLATED.test((error as pg.DatabaseError).code ?? '')) return false;
      throw new Error(`central refuses ${sql}`, { cause: error });
    }
  }

  createOwnTables(): Promise<void> {
    return run(this.edge.ownerUrl, this.schema.own);
  }

  async addOwnRows(random: Random): Promise<void> {
    if (this.preloaded) await run(this.edge.ownerUrl, this.schema.addOwnRows(random));
  }

  /** As an operator whom LOCAL_REFERENCE names the tables. @returns those */
  async removeReferences(detail: string): Promise<string[]> {
    const named = this.schema.ownTables.filter((table) => new RegExp(`\\bpublic\\.${table}\\b`).test(detail));
    for (const table of named) await run(this.edge.ownerUrl, `DELETE FROM ${table}`);
    return named;
  }

  runAtEdge(sql: string): Promise<void> {
    return run(this.edge.url, sql);
  }

  /** Of the mirrored tables, what central has for the device. */
  share(): Promise<Contents> {
    const tables = this.schema.tables.map(({ name, where = 'true' }) => ({ name, where: where.replaceAll(':shop', String(SHOP)) }));
    return this.contentsOf(this.central.url, tables);
  }

  mirror(): Promise<Contents> {
    return this.contentsOf(
      this.edge.url,
      this.schema.tables.map(({ name }) => ({ name, where: 'true' })),
    );
  }

  async own(): Promise<Contents> {
    return withClient(this.edge.url, async (client) => {
      const contents: Contents = {};
      for (const table of this.preloaded ? this.schema.ownTables : [])
        contents[table] = await rowsOf(client, `SELECT t::text AS row FROM ${table} AS t`);
      return contents;
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stack.disposeAsync();
  }

  /** Found at the first look, after the first sync: by then the device has all of its columns. */
  private async columns(): Promise<ReadonlyMap<string, string>> {
    return (this.columnsFound ??= await columnsOf(this.edge.url, this.schema));
  }

  private async contentsOf(url: string, tables: readonly { name: string; where: string }[]): Promise<Contents> {
    const columns = await this.columns();
    return withClient(url, async (client) => {
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL TimeZone = 'UTC'");
      const contents: Contents = {};
      for (const { name, where } of tables) {
        contents[name] = await rowsOf(client, `SELECT ROW(${columns.get(name)})::text AS row FROM ${name} WHERE ${where}`);
      }
      return contents;
    });
  }
}

async function rowsOf(client: pg.ClientBase, sql: string): Promise<string[]> {
  return (await client.query<{ row: string }>(`${sql} ORDER BY 1`)).rows.map(({ row }) => row);
}

/** As docs/sync-plan.md has it: the tables' owner, with the service's rights on schema waypost. Central has made its tables before. */
async function installCapture(central: SideDatabase, plan: string): Promise<void> {
  await using _ = await Service.start('central-api', {
    DATABASE_URL: central.serviceUrl,
    SYNC_PLAN: plan,
    SNAPSHOT_STORE: 'file:/nowhere',
  });
  await run(central.url, 'GRANT waypost TO owner');
  const { code, out, err } = await waypost(['capture', 'install', '--plan', plan], { DATABASE_URL: central.ownerUrl });
  if (code !== 0) throw new Error(`waypost capture install: ${out}${err}`);
  const shown = await waypost(['capture', 'show', '--plan', plan], { DATABASE_URL: central.serviceUrl });
  if (shown.code !== 0) throw new Error(`waypost capture show: ${shown.out}${shown.err}`);
}

async function columnsOf(url: string, { tables }: ApplicationSchema): Promise<Map<string, string>> {
  return withClient(url, async (client) => {
    const columns = new Map<string, string>();
    for (const { name } of tables) {
      const { rows } = await client.query<{ list: string }>(
        `SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname) AS list FROM pg_attribute
         WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped`,
        [name],
      );
      columns.set(name, rows[0]!.list);
    }
    return columns;
  });
}

function planOf({ tables }: ApplicationSchema, captured: boolean): string {
  return JSON.stringify({
    version: 1,
    schemaVersion: 1,
    ...(captured && { changes: 'triggers' }),
    scope: { query: 'SELECT shop FROM devices WHERE mac = :mac' },
    tables,
  });
}

async function run(url: string, sql: string): Promise<void> {
  await withClient(url, (client) => client.query(sql));
}
