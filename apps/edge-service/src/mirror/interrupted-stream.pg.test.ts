import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ChunkIndex, liveHead } from '@waypost/contracts';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { type Edge, queryAt } from '../../testing/edge.js';
import { type FakeCentral, TEST_MAC } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';
import type { TableStream } from '../../testing/table-stream.js';

/** Chunks that a live stream brought before it broke are not downloaded again. */

const CREATE = `
  CREATE TABLE areas (id int PRIMARY KEY, name text NOT NULL);
  INSERT INTO areas SELECT g, md5(g::text) FROM generate_series(1, 20000) g;
  CREATE TABLE nothing (id int PRIMARY KEY);
  CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
  INSERT INTO users SELECT g, md5(g::text) || md5('u' || g) FROM generate_series(1, 30000) g;
  CREATE TABLE visits (id int PRIMARY KEY, name text NOT NULL);
  INSERT INTO visits SELECT g, md5('v' || g) FROM generate_series(1, 2000) g;`;
const TABLES = ['areas', 'nothing', 'users', 'visits'];
const CONTENT = `SELECT ${TABLES.map((table) => `(SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM ${table} t) AS ${table}`).join(', ')}`;
/** What was read and not used when a transfer is aborted, at most: some reads of 64 KiB, in the stream's buffer and in hand. Half of `users` is more. */
const IN_FLIGHT_BYTES = 320 << 10;

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
  pair = await startFakePair({ server, source: CREATE, tables: TABLES });
  ({ source, central, edge } = pair);
  await central.publish();
});
afterEach(() => pair?.[Symbol.asyncDispose]());

const folder = (): string => join(edge.folder, TEST_MAC.replaceAll(':', '-'));
const livePath = (): string => join(folder(), 'live.part');

/** Breaks live streams after the first half of the table's chunks, when these have been written. */
function breakWithin(table: string): void {
  const before = TABLES.slice(0, TABLES.indexOf(table)).map(chunksOf);
  const records = 1 + before.reduce((total, count) => total + 1 + count, 0) + 1 + (chunksOf(table) >> 1);
  central.live = async function* (all) {
    const sent = all.slice(0, records);
    yield* sent;
    // A record makes the receiver hand over what it holds.
    yield liveHead('manifest', 1000);
    const frames = sent.filter((record) => record[0] === 0x43).reduce((total, { length }) => total + length - 52, 0);
    await until(async () => (await stat(livePath()).catch(() => undefined))?.size === frames);
    throw new Error('aborted');
  };
}

const indexOf = (table: string): ChunkIndex => {
  const { bytes, borders } = central.stream(table);
  return ChunkIndex.decode(bytes.subarray(0, borders[0]));
};
const chunksOf = (table: string): number => indexOf(table).length;
/** Where the stream's second half begins. */
const halfOf = (table: string): number => central.stream(table).borders[chunksOf(table) >> 1] as number;
const lengthOf = (table: string): number => central.stream(table).bytes.length;
/** Of the requests for a table's stream: from where on. */
const startsOf = (table: string): number[] =>
  central.requests.filter(({ path }) => path.includes(`/tables/${table}/`)).map(({ range }) => Number(/\d+/.exec(range ?? '0')?.[0]));

/** The first cycle fails: not even a manifest comes after the stream has broken. */
async function failWithin(table: string): Promise<void> {
  breakWithin(table);
  central.onRequest = () => {
    if (central.haves.length > 0) central.refusals.set('/request', 'CENTRAL_BUSY');
  };
  expect(await edge.sync()).toMatchObject({ code: 'CENTRAL_BUSY' });
  expect(await edge.query("SELECT to_regclass('areas') AS areas")).toEqual([{ areas: null }]);
  central.heal();
  central.requests.length = 0;
}

async function expectAll(): Promise<void> {
  expect(await edge.query(CONTENT)).toEqual(await queryAt(source, CONTENT));
  expect(await readdir(folder())).toEqual([]);
}

test('after a live stream that broke, only what had not come is downloaded', async () => {
  breakWithin('users');
  const answer = await edge.sync();
  expect(answer).toMatchObject({ status: 'Success', ack: 'sent' });
  // Tables that came in full are not even asked for.
  expect([startsOf('areas'), startsOf('nothing'), startsOf('visits')]).toEqual([[], [], [0]]);
  expect(startsOf('users')).toEqual([0, halfOf('users')]);
  const [areas, , users] = answer.tables;
  expect(areas).toMatchObject({ action: 'loaded', downloadedBytes: 0 });
  expect(users?.downloadedBytes).toBeLessThan(lengthOf('users') - halfOf('users') + IN_FLIGHT_BYTES);
  await expectAll();
});

test('the cycle after a failed one downloads the rest, also after a restart of the edge', async () => {
  await failWithin('users');
  await edge.restart();
  central.live = (records) => records;
  const answer = await edge.sync();
  expect(answer).toMatchObject({ status: 'Success' });
  expect([startsOf('areas'), startsOf('users')]).toEqual([[], [0, halfOf('users')]]);
  expect(answer.downloadedBytes).toBeLessThan(lengthOf('users') - halfOf('users') + lengthOf('visits') + IN_FLIGHT_BYTES);
  await expectAll();
});

test('of data that changed meanwhile, tables and leading chunks that did not are taken', async () => {
  await failWithin('visits');
  await queryAt(source, "UPDATE users SET name = 'changed' WHERE id = 25000; UPDATE areas SET name = 'changed' WHERE id = 1");
  const old = indexOf('users');
  central.epoch = 'epoch-2';
  await central.publish();
  const same = [...indexOf('users')].findIndex((entry, at) => !entry.digest.equals(old.entry(at).digest));
  expect(same).toBeGreaterThan(10);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(startsOf('users')).toEqual([0, central.stream('users').borders[same]]);
  expect([startsOf('areas'), startsOf('nothing')]).toEqual([[0], []]);
  await expectAll();
});

test('a chunk that is damaged on disk, and what is behind it, is downloaded', async () => {
  await failWithin('visits');
  const damaged = chunksOf('users') >> 1;
  const framesOf = ({ bytes, borders }: TableStream): Buffer => bytes.subarray(borders[0]);
  const before = framesOf(central.stream('areas')).length + halfOf('users') - (central.stream('users').borders[0] as number);
  const frames = await readFile(livePath());
  expect(frames.subarray(before, before + 100)).toEqual(central.stream('users').bytes.subarray(halfOf('users'), halfOf('users') + 100));
  frames.writeUInt8((frames[before + 60] as number) ^ 1, before + 60);
  await writeFile(livePath(), frames);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect([startsOf('areas'), startsOf('users')]).toEqual([[], [0, central.stream('users').borders[damaged]]]);
  await expectAll();
});

test('a central that does not know ranges sends all of it, once', async () => {
  await failWithin('users');
  central.ignoresRanges = true;
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(startsOf('users')).toHaveLength(2);
  await expectAll();
});

test('what a success could not remove goes with the next cycle', async () => {
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  await writeFile(livePath(), 'left');
  await edge.restart();
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
  await expectAll();
});
