import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { Gateway } from './gateway.js';
import { createImageRoles } from './image-roles.js';
import { RestartablePostgres } from './restartable-postgres.js';
import { post, Service } from './service.js';
import { temporaryFolder, type TemporaryFolder } from './temporary-folder.js';
import { waypostJson } from './waypost.js';

export const MAC = '02:00:00:00:00:01';
export const OTHER_MAC = '02:00:00:00:00:02';

const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT shop FROM devices WHERE mac = :mac
tables:
  - name: shops
    where: id = :shop
  - name: articles
    where: shop = :shop
`;
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, shop int NOT NULL);
  INSERT INTO devices VALUES ('${MAC}', 1), ('${OTHER_MAC}', 2);
  CREATE TABLE shops (id int PRIMARY KEY, name text NOT NULL);
  INSERT INTO shops VALUES (1, 'one'), (2, 'two');
  CREATE TABLE articles (id int PRIMARY KEY, shop int NOT NULL, name text NOT NULL);
  INSERT INTO articles SELECT id, 1 + id % 2, repeat(md5(id::text), 4) FROM generate_series(1, 4000) AS id;`;

export interface SyncAnswer {
  httpStatus: number;
  status: string | number;
  manifestId: string | null;
  sequence: number | null;
  durationMs: number;
  ack: string;
  code?: string;
  hint?: string;
  detail?: string;
}

interface PairOptions {
  centralSettings?: Record<string, string | number>;
  edgeSettings?: Record<string, string | number>;
  centralEnv?: Record<string, string>;
  edgeEnv?: Record<string, string>;
  /** Holds the data of the edge's server; a temporary folder by default. */
  edgeFolder?: string;
  /** Makes the edge's database, empty, and gives its name. */
  edgeDatabase?: (server: RestartablePostgres) => Promise<string>;
}

/**
 * A central and an edge as users run them, each with a PostgreSQL server of its own that can be stopped and started, and a gateway in between.
 * The services connect as the role `waypost`, on databases that their images' scripts made. The edge syncs on demand, and empties tables before it
 * loads them.
 */
export class SyncPair implements AsyncDisposable {
  private constructor(
    readonly folder: TemporaryFolder,
    readonly centralServer: RestartablePostgres,
    readonly edgeServer: RestartablePostgres,
    public central: Service,
    readonly gateway: Gateway,
    public edge: Service,
    readonly centralEnv: Record<string, string>,
    readonly edgeEnv: Record<string, string>,
    private readonly edgeDatabase: string,
    /** Of the role that owns central's tables. */
    readonly centralOwnerUrl: string,
  ) {}

  /** The superuser's. */
  get edgeUrl(): string {
    return this.edgeServer.url(this.edgeDatabase);
  }

  static async start(options: PairOptions = {}): Promise<SyncPair> {
    const started: AsyncDisposable[] = [];
    const keep = <T extends AsyncDisposable>(part: T): T => {
      started.unshift(part);
      return part;
    };
    try {
      const folder = keep(await temporaryFolder());
      const centralServer = keep(await RestartablePostgres.start(options.centralSettings));
      const edgeServer = keep(await RestartablePostgres.start(options.edgeSettings, options.edgeFolder));
      const edgeDatabase = (await options.edgeDatabase?.(edgeServer)) ?? 'postgres';
      const atCentral = await createImageRoles('central', centralServer.url());
      const atEdge = await createImageRoles('edge', edgeServer.url(edgeDatabase));
      await query(atCentral.ownerUrl, SCHEMA);
      const plan = join(folder.path, 'plan.yaml');
      await writeFile(plan, PLAN);
      const centralEnv = {
        DATABASE_URL: atCentral.serviceUrl,
        SYNC_PLAN: plan,
        SNAPSHOT_STORE: `file:${join(folder.path, 'snapshots')}`,
        ...options.centralEnv,
      };
      const central = keep(await Service.start('central-api', centralEnv));
      const gateway = keep(await Gateway.start(central.url));
      const edgeEnv = {
        DATABASE_URL: atEdge.serviceUrl,
        CENTRAL_URL: gateway.url,
        DEVICE_MAC: MAC,
        SYNC_INTERVAL: '0',
        LOAD_STRATEGY: 'truncate',
        DOWNLOAD_DIR: join(folder.path, 'downloads'),
        IDENTITY_DIR: join(folder.path, 'identity'),
        ...options.edgeEnv,
      };
      const edge = keep(await Service.start('edge-service', edgeEnv));
      return new SyncPair(folder, centralServer, edgeServer, central, gateway, edge, centralEnv, edgeEnv, edgeDatabase, atCentral.ownerUrl);
    } catch (error) {
      for (const part of started) await part[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** A central with AUTH=device and an edge that has enrolled, not synced. `atCentral` is the environment of commands at central. */
  static async startEnrolled(): Promise<{ pair: SyncPair; atCentral: Record<string, string> }> {
    const pair = await SyncPair.start({ centralEnv: { AUTH: 'device' } });
    try {
      const atCentral = { DATABASE_URL: pair.centralEnv['DATABASE_URL'] as string };
      const { json } = await waypostJson<{ token: string }>(['device', 'add', '--mac', MAC], atCentral);
      pair.edgeEnv['ENROLLMENT_TOKEN'] = json.token;
      await pair.restartEdge();
      return { pair, atCentral };
    } catch (error) {
      await pair[Symbol.asyncDispose]();
      throw error;
    }
  }

  async sync(body?: object): Promise<SyncAnswer> {
    const { status, body: answer } = await post<Omit<SyncAnswer, 'httpStatus'>>(`${this.edge.url}/api/sync/now`, body);
    return { httpStatus: status, ...answer };
  }

  async status<
    T = { lastSuccess: { epoch: string; sequence: number } | null; verifiedAgeMs: number; alert: { code: string } | null },
  >(): Promise<T> {
    return (await (await fetch(`${this.edge.url}/api/sync/status`)).json()) as T;
  }

  async restartEdge(env: Record<string, string> = {}): Promise<void> {
    await this.edge.end('SIGTERM');
    this.edge = await Service.start('edge-service', { ...this.edgeEnv, ...env });
  }

  async restartCentral(env: Record<string, string> = {}): Promise<void> {
    await this.central.end('SIGTERM');
    this.central = await Service.start('central-api', { ...this.centralEnv, ...env });
    this.gateway.target = this.central.url;
  }

  atCentral<Row extends object>(sql: string, url = this.centralServer.url()): Promise<Row[]> {
    return query<Row>(url, sql);
  }

  atEdge<Row extends object>(sql: string): Promise<Row[]> {
    return query<Row>(this.edgeUrl, sql);
  }

  /** Changes both tables of the device's share. */
  async change(url = this.centralOwnerUrl): Promise<void> {
    await query(url, `UPDATE shops SET name = name || '!'; UPDATE articles SET name = name || '!' WHERE id < 100`);
  }

  /** What a reader on the device sees: one word if the tables fit together. */
  async contents(): Promise<string> {
    return digest(this.edgeUrl, 'true');
  }

  /** What the device should have. */
  async share(url = this.centralServer.url()): Promise<string> {
    return digest(url, 'shop = 1');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.edge.end('SIGKILL');
    await this.gateway[Symbol.asyncDispose]();
    await this.central.end('SIGKILL');
    await this.edgeServer[Symbol.asyncDispose]();
    await this.centralServer[Symbol.asyncDispose]();
    await this.folder[Symbol.asyncDispose]();
  }
}

/** Runs SQL, several statements too, on a connection of its own. */
export async function query<Row extends object>(url: string, sql: string): Promise<Row[]> {
  const client = await connect(url);
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** A connection for a test to keep open. Broken by the server, it stays quiet. */
export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, application_name: 'test' });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

async function digest(url: string, mine: string): Promise<string> {
  const [row] = await query<{ digest: string }>(
    url,
    `SELECT (SELECT name FROM shops WHERE id = 1) || ' ' || md5(string_agg(id || ' ' || name, ',' ORDER BY id)) AS digest FROM articles WHERE ${mine}`,
  );
  return row?.digest ?? '';
}
