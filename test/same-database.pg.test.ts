import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { testPool } from './support/test-pool.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { post, Service } from './support/service.js';
import { temporaryFolder } from './support/temporary-folder.js';

/** Both services with the same DATABASE_URL, by mistake: central's rows stay as they are, and the log says what is wrong. */

const MAC = '48:b0:2d:e9:c3:b7';
const SCHEMA = `
  CREATE TABLE devices (mac text PRIMARY KEY, site int NOT NULL);
  INSERT INTO devices VALUES ('${MAC}', 1);
  CREATE TABLE users (id int PRIMARY KEY, site int NOT NULL, name text NOT NULL);
  INSERT INTO users SELECT id, id % 30, 'user ' || id FROM generate_series(1, 3000) AS id;`;
const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT site FROM devices WHERE mac = :mac
tables:
  - name: users
    where: site = :site
`;

let server: TestServer;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

interface Mistake extends AsyncDisposable {
  startCentral: () => Promise<Service>;
  startEdge: (centralUrl: string) => Promise<Service>;
  countUsers: () => Promise<number>;
}

async function sharedDatabase(): Promise<Mistake> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  const { url } = await server.createDatabase('both');
  const pool = testPool(url, 10);
  pool.on('error', () => undefined); // the server may end before the last connection does
  stack.defer(() => pool.end());
  await pool.query(SCHEMA);
  const plan = join(folder.path, 'plan.yaml');
  await writeFile(plan, PLAN);
  const central = { DATABASE_URL: url, SYNC_PLAN: plan, SNAPSHOT_STORE: `file:${join(folder.path, 'snapshots')}` };
  const edge = { DATABASE_URL: url, DEVICE_MAC: MAC, SYNC_INTERVAL: '0', DOWNLOAD_DIR: join(folder.path, 'downloads') };
  const parts = stack.move();
  const start = async (...asked: Parameters<typeof Service.start>): Promise<Service> => parts.use(await Service.start(...asked));
  return {
    startCentral: () => start('central-api', central),
    startEdge: (centralUrl) => start('edge-service', { ...edge, CENTRAL_URL: centralUrl }),
    countUsers: async () => (await pool.query<{ n: number }>('SELECT count(*)::int AS n FROM users')).rows[0]!.n,
    [Symbol.asyncDispose]: () => parts[Symbol.asyncDispose](),
  };
}

const sync = async ({ url }: Service): Promise<unknown> => (await post<{ code?: string }>(`${url}/api/sync/now`)).body.code;

test('central first: the edge refuses, and its log and /api/sync/status say which DATABASE_URL to look at', async () => {
  await using both = await sharedDatabase();
  const central = await both.startCentral();
  const edge = await both.startEdge(central.url);
  expect(await sync(edge)).toBe('WRONG_DATABASE');
  expect(await both.countUsers()).toBe(3000);
  expect(edge.log.some((line) => line.includes('DATABASE_URL of edge-service leads to central'))).toBe(true);
  expect(edge.log.some((line) => line.includes('edge-service is ready'))).toBe(false);
});

test('the edge first: central does not start, and its log says why', async () => {
  await using both = await sharedDatabase();
  const edge = await both.startEdge('http://127.0.0.1:9');
  await sync(edge);
  await expect(both.startCentral()).rejects.toThrow(/WRONG_DATABASE/);
  expect(await both.countUsers()).toBe(3000);
});
