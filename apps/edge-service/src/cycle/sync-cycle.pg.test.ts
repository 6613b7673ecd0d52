import { armFaults } from '@waypost/runtime';
import pino from 'pino';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { type Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';
import { CREATE_SHOP, SHOP_TABLES } from '../../testing/small-shop.js';

/** Independent of the code under test: what PostgreSQL itself makes of each table's rows, in key order. */
const DIGESTS = `
  SELECT 'users' AS name, encode(sha256(convert_to(string_agg(t::text, E'\\n' ORDER BY id), 'UTF8')), 'hex') AS digest, count(*)::int AS rows FROM users t
  UNION ALL
  SELECT 'orders', encode(sha256(convert_to(string_agg(t::text, E'\\n' ORDER BY user_id, n), 'UTF8')), 'hex'), count(*)::int FROM orders t
  UNION ALL
  SELECT 'places', encode(sha256(convert_to(string_agg(ROW("Place Name", "select")::text, E'\\n' ORDER BY "Place Name" COLLATE "C"), 'UTF8')), 'hex'), count(*)::int
  FROM "Odd ""Names""".places t`;

let server: TestServer;
let source: string;
let central: FakeCentral;
let edge: Edge;
let pair: FakePair;

beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  pair = await startFakePair({ server, source: CREATE_SHOP, tables: SHOP_TABLES });
  ({ source, central, edge } = pair);
});
afterEach(() => pair?.[Symbol.asyncDispose]());
afterAll(() => server?.[Symbol.asyncDispose]());

const actionsOf = (answer: { tables: { name: string; action: string }[] }) =>
  Object.fromEntries(answer.tables.map(({ name, action }) => [name, action]));
const xmins = () =>
  edge.query(
    "SELECT 'users' AS t, array_agg(DISTINCT xmin::text) AS x FROM users UNION ALL SELECT 'orders', array_agg(DISTINCT xmin::text) FROM orders",
  );

test('the first sync creates schemas, types and tables, and the rows are those of central', async () => {
  const answer = await edge.sync();
  expect(answer).toMatchObject({ httpStatus: 200, status: 'Success', ack: 'sent' });
  expect(answer.tables.map(({ name, action }) => [name, action])).toEqual(SHOP_TABLES.map((name) => [name, 'loaded']));
  expect(await edge.query(DIGESTS)).toEqual(await queryAt(source, DIGESTS));
  expect(await edge.spooledFiles()).toEqual([]);
});

test("an int8 table's hash is that of the bytes that SQL itself builds", async () => {
  await queryAt(source, 'DELETE FROM orders WHERE user_id > 5');
  const answer = await edge.sync();
  const [row] = await edge.query<{ hash: string }>(`
    SELECT encode(sha256(sha256(string_agg(
      '\\x0003'::bytea || '\\x00000008' || int8send(user_id) || '\\x00000004' || int4send(n)
        || '\\x00000008' || float8send(total), ''::bytea ORDER BY user_id, n))), 'hex') AS hash
    FROM orders`);
  // Ten rows without a border among them are one chunk.
  expect(central.stream('orders').borders).toHaveLength(2);
  expect(answer.tables.find(({ name }) => name === 'orders')?.sha256).toBe(row?.hash);
});

test('the same manifest again changes nothing and sends nothing', async () => {
  await edge.sync();
  const before = await xmins();
  const acks = central.acks.length;
  const answer = await edge.sync();
  expect(answer).toMatchObject({ httpStatus: 200, status: 'Unchanged', ack: 'none', downloadedBytes: 0 });
  expect(await xmins()).toEqual(before);
  expect(central.acks).toHaveLength(acks);
});

test('a cycle that fails after its COMMIT stays the success that it was, on both sides', async () => {
  const logger = pino({ level: 'silent' });
  armFaults({ WAYPOST_FAULTS: 'edge.after-commit:throw' }, logger);
  try {
    expect(await edge.sync()).toMatchObject({ httpStatus: 500, code: 'FAULT_INJECTED' });
  } finally {
    armFaults({}, logger);
  }
  expect(await edge.query(DIGESTS)).toEqual(await queryAt(source, DIGESTS));
  expect(central.acks).toMatchObject([{ status: 'Success' }]);
  expect(await edge.query('SELECT status, error_code FROM waypost.edge_sync_log')).toEqual([{ status: 'Success', error_code: null }]);
  expect(await edge.sync()).toMatchObject({ httpStatus: 200, status: 'Unchanged', ack: 'none' });
});

test('a new manifest with equal hashes only moves the sequence on, and is acknowledged', async () => {
  await edge.sync();
  const before = await xmins();
  const { manifestId, sequence } = await central.publish();
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged', manifestId, ack: 'sent' });
  expect(await xmins()).toEqual(before);
  expect((await edge.status()).lastSuccess).toMatchObject({ manifestId, sequence });
  expect(central.acks.at(-1)).toMatchObject({ manifestId, status: 'Success' });
});

test('only the table that changed is downloaded and loaded', async () => {
  await edge.sync();
  const [users] = await xmins();
  await central.change('UPDATE orders SET total = 1 WHERE user_id = 7');
  const answer = await edge.sync();
  expect(actionsOf(answer)).toEqual({ users: 'unchanged', orders: 'loaded', [SHOP_TABLES[2] as string]: 'unchanged' });
  expect((await xmins())[0]).toEqual(users);
  expect(central.downloads('users')).toBe(1);
  expect(central.downloads('orders')).toBe(2);
  expect(await edge.query(DIGESTS)).toEqual(await queryAt(source, DIGESTS));
});

test('a table that was dropped is created and loaded again', async () => {
  await edge.sync();
  await edge.query('DROP TABLE orders');
  expect(actionsOf(await edge.sync())).toMatchObject({ users: 'unchanged', orders: 'loaded' });
  expect(await edge.query(DIGESTS)).toEqual(await queryAt(source, DIGESTS));
});

test('an emptied table becomes empty', async () => {
  await edge.sync();
  await central.change('DELETE FROM orders');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query('SELECT count(*)::int AS n FROM orders')).toEqual([{ n: 0 }]);
});

test('verify finds rows that were altered on the device, and repairs only their table', async () => {
  await edge.sync();
  await edge.query("UPDATE users SET email = 'another@example.org' WHERE id = 3");
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
  expect(actionsOf(await edge.sync({ verify: true }))).toMatchObject({ users: 'loaded', orders: 'unchanged' });
  expect(await edge.query(DIGESTS)).toEqual(await queryAt(source, DIGESTS));
  expect(await edge.sync({ verify: true })).toMatchObject({ status: 'Unchanged' });
});

test('audit, state and acks tell what happened', async () => {
  const { cycleId, manifestId } = await edge.sync();
  const [log] = await edge.query('SELECT id, manifest_id, status, error_text FROM waypost.edge_sync_log');
  expect(log).toEqual({ id: cycleId, manifest_id: manifestId, status: 'Success', error_text: null });
  const tables = await edge.query<{ table_name: string; row_count: string; sha256: string }>(
    'SELECT table_name, row_count, sha256 FROM waypost.edge_sync_tables WHERE edge_sync_id = $1',
    [cycleId],
  );
  const { localCounts, localChecksums } = central.acks[0] ?? {};
  expect(Object.fromEntries(tables.map((t) => [t.table_name, Number(t.row_count)]))).toEqual(localCounts);
  expect(Object.fromEntries(tables.map((t) => [t.table_name, t.sha256]))).toEqual(localChecksums);
  expect(await edge.status()).toMatchObject({
    running: false,
    lastSuccess: { manifestId, sequence: 1, epoch: 'epoch-1' },
    totals: { cycles: 1, successful: 1, unchanged: 0, failed: 0, rows: 3580 },
    consecutiveFailures: 0,
    breaker: 'closed',
    pendingAcks: 0,
    alert: null,
  });
});

test('a POST without a body is welcome, whatever content type it names', async () => {
  for (const headers of [{}, { 'content-type': 'application/json' }, { 'content-type': 'text/plain' }] as Record<string, string>[]) {
    const response = await fetch(`${edge.url}/api/sync/now`, { method: 'POST', headers });
    expect(response.status).toBe(200);
  }
});

test('probes and metrics answer before and after the first sync', async () => {
  const get = async (path: string) => (await fetch(edge.url + path)).status;
  expect([await get('/healthz'), await get('/metrics')]).toEqual([200, 200]);
  await until(async () => (await get('/health')) === 200); // the migrations run meanwhile
  await edge.sync();
  expect(await get('/health')).toBe(200);
  const metrics = await (await fetch(`${edge.url}/metrics`)).text();
  expect(metrics).toMatch(/waypost_edge_cycles_total\{status="success",.*\} 1/);
  expect(metrics).toMatch(/waypost_edge_rows_loaded_total\{.*\} 3580/);
});
