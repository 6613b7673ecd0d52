import { randomInt } from 'node:crypto';
import { parseTableName, quoteTable } from '@waypost/contracts';
import { describeTables, pinSession, withTransaction } from '@waypost/runtime';
import { jest } from '@jest/globals';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { DAMAGES } from '../../testing/damaged-deltas.js';
import { encodeDelta } from '../../testing/delta-of.js';
import { type Edge, queryAt, type SyncAnswer } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';
import { hashTable } from '../verify/verify-table.js';
import { DeltaBases } from './delta-bases.js';

/** Central has lost what the device holds, in all of these. */

const CREATE = `
  CREATE TABLE readings (id uuid PRIMARY KEY, meter int NOT NULL, note text);
  INSERT INTO readings SELECT md5(g::text)::uuid, g % 50, CASE WHEN g % 3 = 0 THEN NULL ELSE repeat('x', g % 40) END FROM generate_series(1, 6000) g;`;
const CHANGE = `
  UPDATE readings SET meter = meter + 1 WHERE id = md5('17')::uuid;
  DELETE FROM readings WHERE id = md5('18')::uuid;
  INSERT INTO readings VALUES (md5('new')::uuid, 1, 'new');
  UPDATE readings SET id = md5('moved')::uuid WHERE id = md5('19')::uuid;`;
const ROWS = 'SELECT t::text AS row FROM readings AS t ORDER BY 1';

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
  pair = await startFakePair({ server, source: CREATE, tables: ['readings'], env: { STALL_TIMEOUT: '10s' } });
  ({ source, central, edge } = pair);
  central.deltas = () => 'DELTA_NONE';
  central.matches = true;
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
});
afterEach(() => pair?.[Symbol.asyncDispose]());

const tableIn = ({ tables }: SyncAnswer) => tables[0]!;

async function expectEqual(): Promise<void> {
  expect(await edge.query(ROWS)).toEqual(await queryAt(source, ROWS));
}

/** One cycle makes the device equal, and none of its tables comes whole. */
async function expectChunks(change: string): Promise<SyncAnswer> {
  await central.change(change);
  const whole = central.downloads('readings');
  const answer = await edge.sync();
  expect(answer).toMatchObject({ httpStatus: 200, status: 'Success', ack: 'sent' });
  expect(tableIn(answer)).toMatchObject({ action: 'loaded', way: 'chunks' });
  expect(central.downloads('readings')).toBe(whole);
  await expectEqual();
  return answer;
}

/** One cycle makes the device equal by all of the table, and the next one needs only chunks. */
async function expectWhole(reason: RegExp): Promise<void> {
  const answer = await edge.sync();
  expect(answer).toMatchObject({ httpStatus: 200, status: 'Success', ack: 'sent' });
  expect(tableIn(answer)).toMatchObject({ way: 'whole', reason: expect.stringMatching(reason) as unknown });
  await expectEqual();
  central.heal();
  central.matches = true;
  central.deltas = () => 'DELTA_NONE';
  await expectChunks("UPDATE readings SET meter = meter + 1 WHERE id = md5('40')::uuid");
}

test('it costs the chunks that differ, and the device says why it was no delta', async () => {
  const answer = await expectChunks("UPDATE readings SET meter = -1 WHERE id = md5('17')::uuid");
  expect(tableIn(answer).downloadedBytes).toBeLessThan(central.stream('readings').bytes.length / 5);
  expect(tableIn(answer).reason).toContain('DELTA_NONE');
  const [logged] = await edge.query(`
    SELECT t.way, t.reason, l.rows_loaded::int AS rows FROM waypost.edge_sync_tables t JOIN waypost.edge_sync_log l ON l.id = t.edge_sync_id
    ORDER BY l.started_at DESC LIMIT 1`);
  expect(logged).toEqual({ way: 'chunks', reason: tableIn(answer).reason, rows: 1 });
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
});

test('tables that grow, shrink and move are equal again and again, and a full reading agrees', async () => {
  await expectChunks(CHANGE);
  await expectChunks('DELETE FROM readings WHERE meter = 7');
  await expectChunks("INSERT INTO readings SELECT md5('later ' || g)::uuid, 3, NULL FROM generate_series(1, 900) g");
  await expectChunks("DELETE FROM readings WHERE id < '40000000-0000-0000-0000-000000000000'");
  await expectChunks("DELETE FROM readings WHERE id > 'a0000000-0000-0000-0000-000000000000'");
  await expectChunks("UPDATE readings SET note = NULL WHERE id < '60000000-0000-0000-0000-000000000000'");
  expect(await edge.sync({ verify: true })).toMatchObject({ status: 'Unchanged' });
});

/** Changes at the ends of chunks: what comes may lie behind the old chunks that it replaces. @param at the chunk's place */
const AT_BORDERS: ((before: string, border: string) => string)[] = [
  (_, border) => `DELETE FROM readings WHERE id = '${border}'`,
  (before, border) => `DELETE FROM readings WHERE id > '${before}' AND id <= '${border}'`,
  (before, border) => `DELETE FROM readings WHERE id > '${before}' AND id < '${border}'`,
  (_, border) => insertBehind(border, 1),
  (_, border) => insertBehind(border, 900),
  (before, border) => `DELETE FROM readings WHERE id > '${before}' AND id <= '${border}'; ${insertBehind(border, 900)}`,
  (before, border) => `${insertBehind(before, 900)}; DELETE FROM readings WHERE id = '${border}'`,
];

function insertBehind(id: string, count: number): string {
  const [head, tail] = [id.slice(0, -6), parseInt(id.slice(-6), 16)];
  const near = `('${head}' || lpad(to_hex((${tail} + g) % 16777216), 6, '0'))::uuid`;
  return `INSERT INTO readings SELECT ${near}, 1, md5(g::text) FROM generate_series(1, ${count}) g ON CONFLICT DO NOTHING`;
}

test('whatever changes at borders costs chunks, never the table', async () => {
  for (let round = 0; round < 12; round += 1) {
    const { keys } = central.stream('readings');
    const idAt = (chunk: number): string =>
      keys
        .key(chunk)
        .toString('hex', 4)
        .replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
    const kinds = [AT_BORDERS[round % AT_BORDERS.length]!, AT_BORDERS[randomInt(AT_BORDERS.length)]!];
    const chunk = 1 + randomInt(keys.length - 6);
    const other = `UPDATE readings SET meter = meter + 1 WHERE id = '${idAt(0)}'`;
    await expectChunks([other, ...kinds.map((kind, at) => kind(idAt(chunk + 2 * at - 1), idAt(chunk + 2 * at)))].join('; '));
  }
  expect(await edge.sync({ verify: true })).toMatchObject({ status: 'Unchanged' });
});

test('a device that does not keep its manifest names its chunks', async () => {
  central.deltas = true;
  await edge.query("DELETE FROM waypost.edge_sync_state WHERE key = 'manifest'");
  await edge.restart();
  const answer = await expectChunks(CHANGE);
  expect(tableIn(answer).reason).toBe('the manifest that the device holds does not name it, or is not kept');
  expect(central.deltaDownloads('readings')).toBe(central.namings('readings'));
});

test.each(DAMAGES)('a delta with %s is not applied: the table comes whole in the same cycle', async (_, damage) => {
  await central.change(CHANGE);
  central.matches = damage;
  await expectWhole(/./);
});

test('one chunk in the place of others is not applied', async () => {
  await central.change(CHANGE);
  central.matches = ({ segments, frames, ...hashes }) => {
    const { keptChunks: _, oldChunks: __, ...first } = segments[0]!;
    return encodeDelta({
      ...hashes,
      segments: segments.map((segment) => ({ ...segment, ...first })),
      frames: frames.map(() => frames[0]!),
    });
  };
  await expectWhole(/./);
});

test.each([
  ['an older central', () => (central.matches = false), /ROUTE_UNKNOWN/],
  ['central, for there is no gain', () => (central.matches = () => 'DELTA_NONE'), /DELTA_NONE.*DELTA_NONE/],
  ['central, for the body is too long', () => (central.matches = () => 'REQUEST_TOO_LARGE'), /REQUEST_TOO_LARGE/],
  ['a proxy, for the body is too long', () => (central.matches = () => 413), /HTTP 413/],
  ['a proxy, for the method', () => (central.matches = () => 405), /HTTP 405/],
])('refused by %s, the table comes whole', async (_, refuse, reason) => {
  await central.change(CHANGE);
  refuse();
  await expectWhole(reason);
});

test('a body that was altered on its way is sent again', async () => {
  let left = 1;
  central.matches = (parts) => (left-- > 0 ? 'REQUEST_CORRUPT' : encodeDelta(parts));
  await expectChunks(CHANGE);
  expect(central.namings('readings')).toBe(2);
});

test('one that stops anywhere is resumed behind what came, also by another process', async () => {
  await central.change(
    "UPDATE readings SET note = md5(id::text) || md5(meter::text || id::text) WHERE id < 'c0000000-0000-0000-0000-000000000000'",
  );
  let left = 3;
  central.deltaFault = (bytes) =>
    left-- > 0 ? { bytes: bytes.subarray(0, 50_000), contentLength: bytes.length, then: 'hang' } : undefined;
  central.refusals.set('/chunks', 'drop');
  let answer = await edge.sync();
  for (let tries = 0; tries < 3 && answer.status !== 'Success'; tries += 1) {
    await edge.restart();
    answer = await edge.sync();
  }
  expect(tableIn(answer)).toMatchObject({ way: 'chunks' });
  const starts = central.requests
    .filter(({ method, path }) => method === 'POST' && path.includes('/readings/delta'))
    .map(({ range }) => Number(/\d+/.exec(range ?? 'bytes=0-')![0]));
  expect(starts).toHaveLength(4);
  expect(starts.at(-1)).toBeGreaterThan(50_000);
  expect(starts).toEqual(starts.toSorted((one, other) => one - other));
  await expectEqual();
});

test('rows that were altered on the device, beside what changes, are found and put right by the chunks that differ', async () => {
  await edge.query("UPDATE readings SET note = 'local' WHERE id = md5('17')::uuid");
  const answer = await expectChunks(CHANGE);
  expect(tableIn(answer)).toMatchObject({ reason: expect.stringContaining('not those that the device held') as unknown });
});

test.each([
  ['altered', 'UPDATE waypost.edge_table_chunks SET chunks = set_byte(chunks, 3, 255 - get_byte(chunks, 3)) WHERE position = 0'],
  ['cut', 'UPDATE waypost.edge_table_chunks SET chunks = substr(chunks, 41)'],
  ['no list', "UPDATE waypost.edge_table_chunks SET keys = '\\x00'"],
])('a list of chunks that is %s is not named: the table comes whole', async (_, damage) => {
  await edge.query(damage);
  await central.change(CHANGE);
  await expectWhole(/are not those of its rows/);
  expect(central.namings('readings')).toBe(1);
});

test('chunks that were just read, in place of those that are stored, are what changes start from', async () => {
  await edge.query("UPDATE readings SET note = 'local' WHERE id = md5('17')::uuid; DELETE FROM readings WHERE meter = 49 AND note IS NULL");
  const manifest = await central.change("UPDATE readings SET meter = -1 WHERE id = md5('4000')::uuid");
  const [table] = manifest.tables;
  const client = new pg.Client({ connectionString: edge.databaseUrl });
  await client.connect();
  const read = await withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
    const name = parseTableName('readings');
    const local = (await describeTables(client, [name])).get(quoteTable(name))!;
    await pinSession(client);
    return hashTable(client, table!, local, { hasRetained: false, merged: true });
  }).finally(() => client.end());
  const find = jest.spyOn(edge.part(DeltaBases), 'find');
  find.mockResolvedValueOnce({ bases: new Map([['readings', { sha256: read.sha256, chunks: read.chunks }]]), reasons: new Map() });
  const answer = await edge.sync();
  expect(answer).toMatchObject({ status: 'Success' });
  expect(tableIn(answer)).toEqual(expect.objectContaining({ way: 'chunks' }));
  await expectEqual();
  await expectChunks(CHANGE);
});
