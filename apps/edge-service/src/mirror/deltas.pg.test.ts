import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { DAMAGES } from '../../testing/damaged-deltas.js';
import { type DeltaParts, encodeDelta } from '../../testing/delta-of.js';
import { type Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';

/** Many chunks, so that a change lies in few of them; and a table of another key type. */
const CREATE = `
  CREATE TABLE readings (id uuid PRIMARY KEY, meter int NOT NULL, value numeric, note text);
  INSERT INTO readings SELECT md5(g::text)::uuid, g % 50, g / 7.0, CASE WHEN g % 3 = 0 THEN NULL ELSE repeat('x', g % 40) END FROM generate_series(1, 6000) g;
  CREATE TABLE meters (code text PRIMARY KEY, place text);
  INSERT INTO meters SELECT 'm' || g, 'place ' || g FROM generate_series(1, 50) g;`;
const TABLES = ['readings', 'meters'];
/** A row that comes, one that goes, one that changes, one whose key changes. */
const CHANGE = `
  UPDATE readings SET value = value + 1 WHERE id = md5('17')::uuid;
  DELETE FROM readings WHERE id = md5('18')::uuid;
  INSERT INTO readings VALUES (md5('new')::uuid, 1, 1, 'new');
  UPDATE readings SET id = md5('moved')::uuid WHERE id = md5('19')::uuid;`;
/** The same, and most rows of some chunks: these come as chunks. */
const CHANGE_OF_BOTH = `${CHANGE} UPDATE readings SET note = 'z' WHERE id < '20000000-0000-0000-0000-000000000000';`;

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
  pair = await startFakePair({ server, source: CREATE, tables: TABLES, env: { STALL_TIMEOUT: '10s' } });
  ({ source, central, edge } = pair);
  central.deltas = true;
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
});
afterEach(() => pair?.[Symbol.asyncDispose]());

interface Outcome {
  name: string;
  action: string;
  way?: string;
  reason?: string;
  downloadedBytes: number;
}
type Synced = Omit<Awaited<ReturnType<Edge['sync']>>, 'tables'> & { tables: Outcome[] };

async function sync(): Promise<Synced> {
  return await edge.sync();
}

const tableIn = ({ tables }: Synced, name = 'readings') => tables.find((table) => table.name === name);

async function expectEqual(): Promise<void> {
  for (const table of TABLES) {
    const rows = `SELECT t::text AS row FROM ${table} AS t ORDER BY 1`;
    expect(await edge.query(rows)).toEqual(await queryAt(source, rows));
  }
}

/** The next sync repairs all by itself, whole, in the same cycle. */
async function expectWhole(reason: RegExp): Promise<void> {
  const answer = await sync();
  expect(answer).toMatchObject({ httpStatus: 200, status: 'Success', ack: 'sent' });
  expect(tableIn(answer)).toMatchObject({ action: 'loaded', way: 'whole', reason: expect.stringMatching(reason) as unknown });
  await expectEqual();
  central.heal();
  await expectDelta("UPDATE readings SET meter = meter + 1 WHERE id = md5('40')::uuid");
}

async function expectDelta(change: string): Promise<Synced> {
  await central.change(change);
  const whole = central.downloads('readings');
  const answer = await sync();
  expect(answer).toMatchObject({ httpStatus: 200, status: 'Success', ack: 'sent' });
  expect(tableIn(answer)).toMatchObject({ action: 'loaded', way: 'delta' });
  expect(central.downloads('readings')).toBe(whole);
  await expectEqual();
  return answer;
}

test('what changed comes as a delta, a tenth of the table’s bytes or less, again and again', async () => {
  const answer = await expectDelta(CHANGE);
  expect(tableIn(answer)!.downloadedBytes).toBeLessThan(central.stream('readings').bytes.length / 10);
  expect(tableIn(answer, 'meters')).toMatchObject({ action: 'unchanged' });
  await expectDelta(CHANGE_OF_BOTH.replaceAll("'new'", "'newer'").replaceAll("'moved'", "'moved again'").replaceAll("'19'", "'20'"));
  await expectDelta("DELETE FROM readings WHERE meter = 7; UPDATE meters SET place = 'moved' WHERE code < 'm3'");
  await expectDelta('UPDATE readings SET note = NULL');
  await expectDelta("INSERT INTO readings SELECT md5('later ' || g)::uuid, 3, g, NULL FROM generate_series(1, 4000) g");
  await expectDelta('DELETE FROM readings WHERE meter <> 3');
  expect(await sync()).toMatchObject({ status: 'Unchanged' });
  expect(await edge.sync({ verify: true })).toMatchObject({ status: 'Unchanged' });
});

test('the audit says how each table came, and why all of it', async () => {
  await expectDelta(CHANGE);
  central.deltas = () => 'DELTA_NONE';
  await central.change('UPDATE readings SET meter = 0 WHERE meter = 1');
  await sync();
  const rows = await edge.query(`
    SELECT t.action, t.way, t.reason LIKE '%DELTA_NONE%' AS refused, l.rows_loaded::int AS rows
    FROM waypost.edge_sync_tables t JOIN waypost.edge_sync_log l ON l.id = t.edge_sync_id
    WHERE t.table_name = 'readings' ORDER BY l.started_at`);
  expect(rows).toEqual([
    { action: 'loaded', way: 'whole', refused: false, rows: 6050 },
    { action: 'loaded', way: 'delta', refused: null, rows: 5 },
    { action: 'loaded', way: 'whole', refused: true, rows: 6000 },
  ]);
});

test('only the parts of the chunk list that a change touches are written', async () => {
  const parts = () =>
    edge.query("SELECT position, xmin::text FROM waypost.edge_table_chunks WHERE table_name = 'readings' ORDER BY position");
  const [server15] = await edge.query<{ n: number }>('SELECT count(*)::int AS n FROM readings');
  expect(server15!.n).toBe(6000);
  const before = await parts();
  await expectDelta('UPDATE readings SET value = 0 WHERE id = (SELECT min(id::text)::uuid FROM readings)');
  const after = await parts();
  expect(after.filter((part, at) => JSON.stringify(part) !== JSON.stringify(before[at])).length).toBe(Math.min(1, before.length));
});

test.each(DAMAGES)('a delta with %s is not applied: the table comes whole in the same cycle', async (_, damage) => {
  await central.change(CHANGE_OF_BOTH);
  central.deltas = damage;
  await expectWhole(/./);
});

const BASE64 = (parts: DeltaParts): string => encodeDelta(parts).toString('base64');

test('a delta that comes with the manifest is not asked for, and its bytes count', async () => {
  central.encloses = BASE64;
  const answer = await expectDelta(CHANGE_OF_BOTH);
  expect(central.deltaDownloads('readings')).toBe(0);
  expect(tableIn(answer)!.downloadedBytes).toBeGreaterThan(100);
  expect(await sync()).toMatchObject({ status: 'Unchanged' });
});

test.each<[string, (parts: DeltaParts) => unknown]>([
  ['that is half', (parts) => encodeDelta(parts).subarray(0, 200).toString('base64')],
  ['with bytes behind it', (parts) => Buffer.concat([encodeDelta(parts), Buffer.from('more')]).toString('base64')],
  ['that is nothing', () => ''],
  ['that is no base64', () => 'a delta'],
  ['that is no text', () => 17],
  ['of another table', (parts) => BASE64({ ...parts, sha256: 'ab'.repeat(32) })],
])('an enclosed delta %s is asked for', async (_, encloses) => {
  central.encloses = encloses;
  await expectDelta(CHANGE);
  expect(central.deltaDownloads('readings')).toBe(1);
});

test.each(DAMAGES.slice(0, 4))('an enclosed delta with %s is not applied: the table comes whole in the same cycle', async (_, damage) => {
  await central.change(CHANGE_OF_BOTH);
  central.deltas = () => 'DELTA_NONE';
  central.encloses = (parts) => Buffer.from(damage(parts)).toString('base64');
  await expectWhole(/./);
});

test('the delta of another table or device is not applied', async () => {
  const other: DeltaParts[] = [];
  central.deltas = (parts) => {
    other.push(parts);
    return encodeDelta(parts);
  };
  await central.change("UPDATE meters SET place = 'x'");
  await sync();
  await central.change(CHANGE);
  central.deltas = () => encodeDelta(other[0]!);
  await expectWhole(/another table/);
});

test('a delta that stops anywhere is resumed behind what came, also by another process', async () => {
  await central.change('UPDATE readings SET note = md5(id::text) || md5(meter::text || id::text)'); // some 300 KB
  let left = 3;
  central.deltaFault = (bytes) =>
    left-- > 0 ? { bytes: bytes.subarray(0, 50_000), contentLength: bytes.length, then: 'hang' } : undefined;
  central.refusals.set('/chunks', 'drop');
  let answer = await sync();
  for (let tries = 0; tries < 3 && answer.status !== 'Success'; tries += 1) {
    await edge.restart();
    answer = await sync();
  }
  expect(tableIn(answer)).toMatchObject({ way: 'delta' });
  const ranges = central.requests.filter(({ path }) => path.includes('/readings/delta')).map(({ range }) => range);
  expect(ranges).toHaveLength(4);
  const starts = ranges.map((range) => Number(/\d+/.exec(range ?? 'bytes=0-')![0]));
  expect(starts.at(-1)).toBeGreaterThan(50_000);
  expect(starts).toEqual(starts.toSorted((one, other) => one - other));
  await expectEqual();
});

test('a central that knows no deltas is asked for the table', async () => {
  central.deltas = false;
  await central.change(CHANGE);
  const answer = await sync();
  expect(tableIn(answer)).toMatchObject({ way: 'whole', reason: expect.stringContaining('ROUTE_UNKNOWN') as unknown });
  await expectEqual();
});

test('a device that was updated from a version without chunk lists loads a table whole once', async () => {
  await edge.query('DELETE FROM waypost.edge_table_chunks');
  await central.change(CHANGE);
  expect(tableIn(await sync())).toMatchObject({ way: 'whole', reason: 'its chunks are not stored here' });
  await expectDelta("DELETE FROM readings WHERE id = md5('21')::uuid");
});

test.each([
  [
    'a value',
    "UPDATE readings SET note = 'local' WHERE id = (SELECT id FROM readings WHERE id < md5('17')::uuid ORDER BY id DESC LIMIT 1)",
  ],
  ['the row itself', "UPDATE readings SET note = 'local' WHERE id = md5('17')::uuid"],
  ['a row that went', "DELETE FROM readings WHERE id = md5('17')::uuid"],
  [
    'a row too many',
    "INSERT INTO readings SELECT id, 0, 0 FROM (SELECT (left(md5('17'), 31) || CASE right(md5('17'), 1) WHEN '0' THEN '1' ELSE '0' END)::uuid AS id) AS near",
  ],
  ['all rows', "UPDATE readings SET note = 'local'"],
])('%s that was altered on the device, beside what changes, is found and put right by the chunks that differ', async (_, alter) => {
  central.matches = true;
  await edge.query(alter);
  await central.change(CHANGE);
  const answer = await sync();
  expect(answer).toMatchObject({ httpStatus: 200, status: 'Success', ack: 'sent' });
  expect(tableIn(answer)).toMatchObject({
    way: 'chunks',
    reason: expect.stringMatching(/not those that the device held/) as unknown,
  });
  await expectEqual();
  expect(central.acks.at(-1)).toMatchObject({ drifts: [{ table: 'readings' }] });
  expect(await edge.query('SELECT scrub_id, table_name FROM waypost.edge_drifts')).toEqual([{ scrub_id: null, table_name: 'readings' }]);
  await expectDelta("UPDATE readings SET meter = meter + 1 WHERE id = md5('40')::uuid");
});

test.each([
  [
    'a list that was altered',
    "UPDATE waypost.edge_table_chunks SET chunks = set_byte(chunks, 3, 255 - get_byte(chunks, 3)) WHERE table_name = 'readings'",
  ],
  ['a list that lacks a part', "DELETE FROM waypost.edge_table_chunks WHERE table_name = 'readings' AND position = 0"],
  ['a list that is no list', "UPDATE waypost.edge_table_chunks SET keys = '\\x00' WHERE table_name = 'readings'"],
])('%s of the device leads to no wrong row', async (_, damage) => {
  await edge.query(damage);
  await central.change(CHANGE);
  await expectWhole(/./);
});

test('a list whose keys were altered leads to no wrong row', async () => {
  await edge.query("UPDATE waypost.edge_table_chunks SET keys = set_byte(set_byte(keys, 20, 0), 100, 255) WHERE table_name = 'readings'");
  await central.change(CHANGE);
  expect(await sync()).toMatchObject({ httpStatus: 200, status: 'Success' });
  await expectEqual();
});

test('a trigger that alters a row that a delta brings fails the cycle, and nothing is committed', async () => {
  await edge.query(`
    CREATE FUNCTION alter_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.note := 'altered'; RETURN new; END $$;
    CREATE TRIGGER alter_row BEFORE UPDATE ON readings FOR EACH ROW EXECUTE FUNCTION alter_row();`);
  const rows = 'SELECT t::text AS row FROM readings AS t ORDER BY 1';
  const before = await edge.query(rows);
  await central.change(CHANGE);
  expect(await sync()).toMatchObject({ code: 'VERIFICATION_FAILED' });
  expect(await edge.query(rows)).toEqual(before);
});

test('a trigger that writes to rows that no delta names is found', async () => {
  await edge.query(`
    CREATE FUNCTION touch_other() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF pg_trigger_depth() = 1 THEN UPDATE readings SET note = 'touched' WHERE id = md5('4000')::uuid; END IF;
      RETURN NULL;
    END $$;
    CREATE TRIGGER touch_other AFTER INSERT ON readings FOR EACH ROW EXECUTE FUNCTION touch_other();`);
  await central.change(CHANGE);
  expect(await sync()).toMatchObject({ code: 'SIDE_EFFECT' });
});

test('a table whose key no index orders comes whole, and says why', async () => {
  await edge.query('ALTER TABLE readings DROP CONSTRAINT readings_pkey');
  await central.change(CHANGE);
  expect(tableIn(await sync())).toMatchObject({ way: 'whole', reason: 'no index has the order of its key' });
  await expectEqual();
});
