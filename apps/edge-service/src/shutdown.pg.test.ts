import pg from 'pg';
import { startTestServer, type TestServer } from '../../../test/support/postgres.js';
import { post, Service } from '../../../test/support/service.js';
import { temporaryFolder, type TemporaryFolder } from '../../../test/support/temporary-folder.js';
import { until } from '../../../test/support/until.js';
import { queryAt } from '../testing/edge.js';
import { FakeCentral, TEST_MAC } from '../testing/fake-central.js';

const CREATE =
  'CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT g, md5(g::text) FROM generate_series(1, 2000) g';

let server: TestServer;
let source: string;
let database: string;
let central: FakeCentral;
let folder: TemporaryFolder;

beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  source = (await server.createDatabase('source')).url;
  database = (await server.createDatabase('edge')).url;
  folder = await temporaryFolder();
  await queryAt(source, CREATE);
  central = await FakeCentral.start(source, ['users']);
});
afterEach(async () => {
  await central[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** The built service in a process of its own. */
const startEdge = (env: Record<string, string> = {}) =>
  Service.start('edge-service', {
    DATABASE_URL: database,
    CENTRAL_URL: central.url,
    DEVICE_MAC: TEST_MAC,
    SYNC_INTERVAL: '0',
    DOWNLOAD_DIR: folder.path,
    ...env,
  });

const names = () => queryAt<{ name: string }>(database, 'SELECT name FROM users ORDER BY id');

test('SIGTERM during a download: the cycle is answered and audited as aborted, nothing is changed, and the next process goes on where it stopped', async () => {
  await using edge = await startEdge();
  expect(await post(`${edge.url}/api/sync/now`)).toMatchObject({ status: 200 });
  const before = await names();
  await central.change("UPDATE users SET name = name || '!'");
  const { borders, bytes } = central.stream('users');
  const end = borders[2] as number;
  const asked = Promise.withResolvers<void>();
  central.streamFault = () => {
    asked.resolve();
    return { bytes: bytes.subarray(0, end), contentLength: bytes.length, then: 'hang' };
  };
  const answer = post<{ code: string }>(`${edge.url}/api/sync/now`);
  await asked.promise;
  expect(await edge.end('SIGTERM')).toBe(0);
  expect(await answer).toMatchObject({ status: 503, body: { code: 'SHUTTING_DOWN' } });
  expect(await names()).toEqual(before);

  central.heal();
  await using next = await startEdge();
  expect(await post(`${next.url}/api/sync/now`)).toMatchObject({ status: 200, body: { status: 'Success' } });
  expect(await names()).toEqual(await queryAt(source, 'SELECT name FROM users ORDER BY id'));
  const log = await queryAt(database, 'SELECT status, error_code FROM waypost.edge_sync_log ORDER BY started_at');
  expect(log).toEqual([
    { status: 'Success', error_code: null },
    { status: 'Failed', error_code: 'SHUTTING_DOWN' },
    { status: 'Success', error_code: null },
  ]);
});

test('SIGTERM during a load that does not end: it is rolled back and answered', async () => {
  await using edge = await startEdge({ LOCK_TIMEOUT: '10m', LOAD_STRATEGY: 'truncate' });
  expect(await post(`${edge.url}/api/sync/now`)).toMatchObject({ status: 200 });
  await central.change("UPDATE users SET name = name || '!'");
  const reader = new pg.Client({ connectionString: database });
  await reader.connect();
  await reader.query('BEGIN; SELECT FROM users');
  const answer = post<{ code: string }>(`${edge.url}/api/sync/now`);
  await until(async () => (await queryAt(database, 'SELECT FROM pg_locks WHERE NOT granted')).length > 0);
  expect(await edge.end('SIGTERM')).toBe(0);
  expect(await answer).toMatchObject({ status: 503, body: { code: 'SHUTTING_DOWN' } });
  await reader.query('COMMIT');
  await reader.end();
  expect((await names())[0]?.name).not.toContain('!');
});

test('SIGTERM that arrives twice within a moment, as through npm, ends the service in order', async () => {
  await using edge = await startEdge();
  const asked = Promise.withResolvers<void>();
  central.streamFault = ({ bytes }) => {
    asked.resolve();
    return { bytes: bytes.subarray(0, bytes.length - 1), contentLength: bytes.length, then: 'hang' };
  };
  const answer = post<{ code: string }>(`${edge.url}/api/sync/now`);
  await asked.promise;

  process.kill(edge.pid, 'SIGTERM');
  process.kill(edge.pid, 'SIGINT');
  await edge.gone;
  expect(edge.exitCode).toBe(0);
  expect(await answer).toMatchObject({ status: 503, body: { code: 'SHUTTING_DOWN' } });
  expect(await queryAt(database, 'SELECT status, error_code FROM waypost.edge_sync_log')).toEqual([
    { status: 'Failed', error_code: 'SHUTTING_DOWN' },
  ]);
});

test('SIGKILL during a download: the next process closes the cycle as interrupted, and syncs', async () => {
  await using edge = await startEdge();
  const asked = Promise.withResolvers<void>();
  central.streamFault = ({ bytes }) => {
    asked.resolve();
    return { bytes: bytes.subarray(0, bytes.length - 1), contentLength: bytes.length, then: 'hang' };
  };
  const answer = post(`${edge.url}/api/sync/now`).catch(() => 'broken');
  await asked.promise;
  await edge.end('SIGKILL');
  expect(await answer).toBe('broken');
  central.heal();
  await using next = await startEdge();
  await until(async () => (await post(`${next.url}/api/sync/now`)).status === 200);
  const log = await queryAt(database, "SELECT status FROM waypost.edge_sync_log WHERE status <> 'Unchanged' ORDER BY started_at");
  expect(log).toEqual([{ status: 'Failed' }, { status: 'Success' }]);
});

test('left to itself, it syncs soon after its start', async () => {
  await using _edge = await startEdge({ SYNC_INTERVAL: '1h' });
  await until(() => central.acks.length > 0);
  expect(await names()).toHaveLength(2000);
});

test('faulty settings end the start with one line that names all of them', async () => {
  const start = Service.start('edge-service', { DATABASE_URL: 'nowhere', CENTRAL_URL: '', DEVICE_MAC: 'x' });
  await expect(start).rejects.toThrow(/DATABASE_URL .*CENTRAL_URL .*DEVICE_MAC /);
});
