import 'reflect-metadata';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import {
  type Ack,
  type AckResponse,
  chunkStreamPath,
  type Manifest,
  openManifest,
  type Problem,
  type SyncRequest,
} from '@waypost/contracts';
import { createLogger } from '@waypost/runtime';
import pg from 'pg';
import { readCentralConfig } from '../src/config.js';
import { createCentralApp, listenForOperators } from '../src/http-app.js';
import { haveOf } from './messages.js';

interface StartOptions {
  databaseUrl: string;
  /** The plan as YAML. */
  plan: string;
  /** More of the environment. Devices are known by their MACs unless it says otherwise. */
  env?: Record<string, string>;
}

/** What came back over HTTP, its body read. */
export interface Answer<Body = Problem> {
  status: number;
  headers: Headers;
  body: Body;
}

/** central-api in this process, on a free port, with a store and a plan of its own. */
export interface Central extends AsyncDisposable {
  url: string;
  /** With ADMIN_PORT. */
  adminUrl: string | undefined;
  app: NestFastifyApplication;
  /** Of the snapshot store. */
  store: string;
  /** Runs SQL on central's database, past central. */
  sql: <Row extends pg.QueryResultRow>(text: string, values?: unknown[]) => Promise<Row[]>;
  /** POSTs JSON; a string is sent as it is. */
  post: <Body = Problem>(path: string, body: unknown, headers?: Record<string, string>) => Promise<Answer<Body>>;
  /** Asks for a manifest, which must be given and be right. */
  manifestFor: (mac: string, more?: Partial<SyncRequest>) => Promise<Manifest>;
  /** Asks for a manifest as the device that holds this one. */
  poll: (held: Manifest) => Promise<Manifest>;
  acknowledge: (ack: Ack) => Promise<Answer<AckResponse>>;
  download: (manifest: Manifest, table: string, headers?: Record<string, string>, mac?: string) => Promise<Answer<Buffer>>;
  /** The newest rows of the audit of requests, oldest first. */
  audit: (count: number) => Promise<AuditRow[]>;
}

export interface AuditRow {
  mac: string | null;
  manifest_id: string | null;
  operation: string;
  status: string;
  reason: string | null;
  duration_ms: number;
}

/** Centrals on one database share one store, as replicas do. It goes with the last of them. */
const stores = new Map<string, { folder: Promise<string>; users: number }>();

function shareStore(databaseUrl: string): { folder: Promise<string>; leave: () => Promise<void> } {
  const shared = stores.get(databaseUrl) ?? { folder: mkdtemp(join(tmpdir(), 'waypost-store-')), users: 0 };
  stores.set(databaseUrl, shared);
  shared.users += 1;
  const leave = async (): Promise<void> => {
    shared.users -= 1;
    if (shared.users > 0) return;
    stores.delete(databaseUrl);
    await rm(await shared.folder, { recursive: true, force: true });
  };
  return { folder: shared.folder, leave };
}

/** `await using central = await startCentral({ … })` */
export async function startCentral({ databaseUrl, plan, env = {} }: StartOptions): Promise<Central> {
  const folder = await mkdtemp(join(tmpdir(), 'waypost-central-'));
  await using stack = new AsyncDisposableStack();
  const shared = shareStore(databaseUrl);
  stack.defer(shared.leave);
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const store = join(await shared.folder, 'snapshots');
  const planFile = join(folder, 'plan.yaml');
  await writeFile(planFile, plan);
  const config = readCentralConfig({
    DATABASE_URL: databaseUrl,
    SYNC_PLAN: planFile,
    SNAPSHOT_STORE: `file:${store}`,
    PORT: '0',
    AUTH: 'mac',
    ...env,
  });
  const logger = createLogger('central-api', process.env['TEST_LOG_LEVEL'] ?? 'silent');
  const app = await createCentralApp(config, logger);
  stack.defer(() => app.close());
  const adminUrl = await listenForOperators(app);
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  // Quiet when the server ends before the last of its connections does, which `end()` does not wait for.
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 4 }).on('error', () => undefined);
  pool.on('error', () => undefined);
  stack.defer(() => pool.end());

  const post: Central['post'] = async (path, body, headers = {}) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const response = await fetch(url + path, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: text });
    return { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) as never };
  };
  const manifestFor: Central['manifestFor'] = async (mac, more = {}) => {
    const { status, body } = await post<{ manifest: unknown }>('/api/device-sync/request', { mac, ...more });
    if (status !== 200) throw new Error(`central answered ${status}: ${JSON.stringify(body)}`);
    return openManifest(body.manifest);
  };
  const started = stack.move();
  return {
    url,
    adminUrl,
    app,
    store,
    post,
    sql: async (text, values) => (await pool.query<never>(text, values)).rows,
    manifestFor,
    poll: (held) => manifestFor(held.device.mac, haveOf(held)),
    acknowledge: (ack) => post<AckResponse>('/api/device-sync/ack', ack),
    download: async (manifest, table, headers = {}, mac = manifest.device.mac) => {
      const path = `${chunkStreamPath(manifest.manifestId, table)}?mac=${encodeURIComponent(mac)}`;
      const response = await fetch(url + path, { headers });
      return { status: response.status, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) };
    },
    audit: async (count) => {
      const columns = 'mac, manifest_id, operation, status, reason, duration_ms';
      const { rows } = await pool.query<AuditRow>(`SELECT ${columns} FROM waypost.sync_requests ORDER BY id DESC LIMIT $1`, [count]);
      return rows.reverse();
    },
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}
