import { liveHead, sealManifest } from '@waypost/contracts';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { type Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';
import { CREATE_SHOP, SHOP_TABLES } from '../../testing/small-shop.js';

const CONTENT = `
  SELECT (SELECT md5(string_agg(u::text, ',' ORDER BY id)) FROM users u) AS users,
         (SELECT md5(string_agg(o::text, ',' ORDER BY user_id, n)) FROM orders o) AS orders,
         (SELECT md5(string_agg(p."Place Name" || p."select"::text, ',' ORDER BY "Place Name" COLLATE "C")) FROM "Odd ""Names""".places p) AS places`;

let server: TestServer;
let source: string;
let central: FakeCentral;
let edge: Edge;
let pair: FakePair;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

beforeEach(async () => {
  pair = await startFakePair({ server, source: CREATE_SHOP, tables: SHOP_TABLES });
  ({ source, central, edge } = pair);
});
afterEach(() => pair?.[Symbol.asyncDispose]());

const asked = (): number => central.requests.filter(({ path }) => path === '/api/device-sync/request').length;
const downloaded = (): number => central.requests.filter(({ path }) => path.includes('/chunks')).length;

/** The tables before it are in the database then, though not committed. */
const isLoading = async (table: string): Promise<boolean> =>
  (await edge.query(`SELECT FROM pg_stat_activity WHERE state = 'active' AND query ~ $1`, [`^COPY .*${table}`])).length > 0;

async function expectAll(): Promise<void> {
  expect(await edge.query(CONTENT)).toEqual(await queryAt(source, CONTENT));
  const [{ open }] = (await edge.query<{ open: number }>(
    "SELECT count(*)::int AS open FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()",
  )) as [{ open: number }];
  expect(open).toBe(0);
}

test('the rows of a first sync are loaded while they come, and proven by the manifest that comes last', async () => {
  central.live = async function* (records) {
    const last = records.findLastIndex((record) => record.equals(liveHead('table', 0)));
    yield* records.slice(0, last + 1);
    await until(() => isLoading('places'));
    yield* records.slice(last + 1);
  };
  const answer = await edge.sync();
  expect(answer).toMatchObject({ status: 'Success', ack: 'sent', manifestId: central.acks[0]?.manifestId });
  expect(answer.downloadedBytes).toBeGreaterThan(10_000);
  expect(answer.tables.map(({ action, rowCount }) => [action, rowCount])).toEqual([
    ['loaded', 1500],
    ['loaded', 2000],
    ['loaded', 80],
  ]);
  expect([asked(), downloaded()]).toEqual([1, 0]);
  expect(central.acks).toMatchObject([{ status: 'Success', localCounts: { users: 1500, orders: 2000 } }]);
  await expectAll();
  central.heal();
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
  await central.change("UPDATE users SET email = email || '.' WHERE id = 7");
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  await expectAll();
});

test('where central cuts the rows off, what its manifest names is downloaded', async () => {
  central.live = (records) => [...records.slice(0, 4), liveHead('truncated', 0), records.at(-1)!];
  expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  expect([asked(), downloaded()]).toEqual([1, 3]);
  await expectAll();
});

test('a live stream that breaks is followed by a regular download, and not tried again', async () => {
  central.live = async function* (records) {
    yield* records.slice(0, 4);
    await until(() => isLoading('users'));
    throw new Error('aborted');
  };
  expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  expect([asked(), downloaded()]).toEqual([2, 3]);
  await expectAll();
});

test.each<[string, (record: Buffer) => Buffer]>([
  ['a frame', (record) => edit(record, record.length - 20)],
  ['a digest', (record) => edit(record, 10)],
])('%s that was altered in transit is not loaded', async (_, alter) => {
  central.live = (records) => records.map((record, at) => (at === 3 ? alter(record) : record));
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  // The other tables came as they should.
  expect([central.downloads('users'), downloaded()]).toEqual([1, 1]);
  await expectAll();
});

test('rows of another state than the manifest’s are not kept', async () => {
  central.live = (records) => records.filter((_, at) => at !== 2);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect([central.downloads('users'), downloaded()]).toEqual([1, 1]);
  await expectAll();
});

test('tables that are there already are not touched by a live stream', async () => {
  await edge.query('CREATE TABLE users AS SELECT 1 AS wrong');
  central.live = (records) => records;
  expect(await edge.sync()).toMatchObject({ code: 'SCHEMA_MISMATCH' });
  expect(central.acks).toMatchObject([{ status: 'Failed', manifestId: expect.any(String) as unknown }]);
  await edge.query('DROP TABLE users');
  await edge.query('CREATE TABLE orders (user_id bigint NOT NULL, n int NOT NULL, total double precision, PRIMARY KEY (user_id, n))');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(downloaded()).toBe(3);
  await expectAll();
});

test('a manifest that the device must not apply is refused as ever, and nothing stays', async () => {
  central.live = (records) => records;
  central.manifestFault = (manifest) => sealManifest({ ...manifest, device: { ...manifest.device, mac: '48:b0:2d:00:00:00' } });
  expect(await edge.sync()).toMatchObject({ code: 'MANIFEST_NOT_YOURS' });
  expect(await edge.query("SELECT to_regclass('users') AS users")).toEqual([{ users: null }]);
  central.manifestFault = undefined;
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(downloaded()).toBe(0);
  await expectAll();
});

test('rows that the device cannot take fail the cycle, and central is told of which manifest', async () => {
  await edge.query(`
    CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN
      IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE schema_name = 'public') THEN RAISE insufficient_privilege; END IF;
    END$$`);
  await edge.query(`CREATE EVENT TRIGGER refuse ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION refuse()`);
  central.live = (records) => records;
  expect(await edge.sync()).toMatchObject({ code: 'LOAD_REFUSED' });
  expect(central.acks).toMatchObject([{ status: 'Failed' }]);
  await edge.query('DROP EVENT TRIGGER refuse');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  await expectAll();
});

function edit(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ 4, at);
  return copy;
}
