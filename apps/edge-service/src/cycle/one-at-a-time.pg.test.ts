import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';

const CREATE = 'CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT g, g::text FROM generate_series(1, 10) g';

let server: TestServer;
let source: string;
let central: FakeCentral;
let edge: Edge;
let pair: FakePair;

beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  pair = await startFakePair({ server, source: CREATE, tables: ['users'] });
  ({ source, central, edge } = pair);
});
afterEach(() => pair?.[Symbol.asyncDispose]());
afterAll(() => server?.[Symbol.asyncDispose]());

/** Central holds the answer back until `release`. */
function holdManifest(): { reached: Promise<void>; release: () => void } {
  const reached = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  central.onRequest = async (path) => {
    if (!path.endsWith('/request')) return;
    reached.resolve();
    await released.promise;
  };
  return { reached: reached.promise, release: released.resolve };
}

test('of two syncs at once one runs and the other gets 409', async () => {
  const { reached, release } = holdManifest();
  const first = edge.sync();
  await reached;
  expect(await edge.status()).toMatchObject({ running: true });
  expect(await edge.sync()).toMatchObject({ httpStatus: 409, code: 'SYNC_RUNNING' });
  release();
  expect(await first).toMatchObject({ httpStatus: 200, status: 'Success' });
  expect(await edge.status()).toMatchObject({ running: false, totals: { cycles: 1 } });
});

test('two processes on one database never sync at the same time', async () => {
  await using other = await Edge.start({ databaseUrl: edge.databaseUrl, centralUrl: central.url });
  await until(async () => (await fetch(`${other.url}/health`)).status === 200);
  const { reached, release } = holdManifest();
  const first = edge.sync();
  await reached;
  expect(await other.sync()).toMatchObject({ httpStatus: 409, code: 'SYNC_RUNNING' });
  release();
  expect(await first).toMatchObject({ status: 'Success' });
  expect(await other.sync()).toMatchObject({ status: 'Unchanged' });
});

test('a cycle whose process died is closed as failed by the next one', async () => {
  await edge.sync();
  await edge.query(
    "INSERT INTO waypost.edge_sync_log (id, started_at, status, trigger) VALUES ('dead', now() - interval '1 hour', 'Running', 'schedule')",
  );
  await edge.sync();
  const [row] = await edge.query("SELECT status, error_text FROM waypost.edge_sync_log WHERE id = 'dead'");
  expect(row).toMatchObject({ status: 'Failed', error_text: expect.stringContaining('interrupted') as unknown });
});

test('an ack that cannot be sent is kept, survives a restart, and is sent once', async () => {
  central.refusals.set('/ack', 'drop');
  expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'queued' });
  expect(await edge.status()).toMatchObject({ pendingAcks: 1 });
  await edge.restart();
  central.heal();
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
  expect(central.acks.map(({ status }) => status)).toEqual(['Success']);
  expect(await edge.status()).toMatchObject({ pendingAcks: 0 });
});

test('an ack that central refuses for good is set aside and does not hold up the next one', async () => {
  central.refusals.set('/ack', 'MANIFEST_UNKNOWN');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  central.heal();
  await queryAt(source, 'DELETE FROM users WHERE id = 1');
  const { manifestId } = await central.publish();
  expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  expect(central.acks.map((ack) => ack.manifestId)).toEqual([manifestId]);
  expect(await edge.query('SELECT last_error FROM waypost.edge_acks WHERE refused_at IS NOT NULL')).toHaveLength(1);
});

test('central away: the data stays readable, the breaker opens, and its return heals without a restart', async () => {
  await using patient = await Edge.start({
    databaseUrl: edge.databaseUrl,
    centralUrl: central.url,
    limits: { failuresToOpen: 2, openMs: 5000 },
  });
  expect(await patient.sync()).toMatchObject({ status: 'Success' });
  await central.stop();
  for (let failure = 0; failure < 2; failure += 1) {
    expect(await patient.sync()).toMatchObject({ httpStatus: 502, code: 'CENTRAL_UNREACHABLE' });
  }
  expect(await patient.status()).toMatchObject({ breaker: 'open', consecutiveFailures: 2 });
  expect((await patient.sync()).detail).toContain('not asked again');
  expect(await patient.query('SELECT FROM users')).toHaveLength(10);
  expect((await fetch(`${patient.url}/health`)).status).toBe(200);
  await central.listen();
  await until(async () => (await patient.sync()).httpStatus === 200);
  expect(await patient.status()).toMatchObject({ breaker: 'closed', consecutiveFailures: 0 });
});

test('the database away at start does not end the process, and is used as soon as it is there', async () => {
  const name = `late_${Date.now()}`;
  const late = new URL(edge.databaseUrl);
  late.pathname = `/${name}`;
  await using waiting = await Edge.start({ databaseUrl: late.href, centralUrl: central.url });
  expect((await fetch(`${waiting.url}/healthz`)).status).toBe(200);
  const health = await fetch(`${waiting.url}/health`);
  expect(health.status).toBe(503);
  expect(await health.json()).toMatchObject({ error: { database: { status: 'down' } } });
  expect(await (await fetch(`${waiting.url}/api/sync/status`)).json()).toMatchObject({ totals: null });
  await queryAt(edge.databaseUrl, `CREATE DATABASE ${name}`);
  await until(async () => (await fetch(`${waiting.url}/health`)).status === 200);
  expect(await waiting.sync()).toMatchObject({ status: 'Success' });
});

test('connections that the database server ends heal with the next cycle', async () => {
  await edge.sync();
  await edge.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()');
  await until(async () => (await edge.sync()).httpStatus === 200);
});

test('a connection that breaks during the download fails the cycle, and what was downloaded is used by the next', async () => {
  central.onRequest = async (path) => {
    if (!path.includes('/chunks')) return;
    await edge.query("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()");
  };
  expect(await edge.sync()).toMatchObject({ httpStatus: 503, code: 'DATABASE_UNAVAILABLE' });
  central.heal();
  expect(await edge.sync()).toMatchObject({ status: 'Success', downloadedBytes: 0 });
});
