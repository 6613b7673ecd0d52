import { readFile, writeFile } from 'node:fs/promises';
import { zstdCompressSync } from 'node:zlib';
import { ChunkIndexBuilder, HEADER_BYTES, INDEX_ENTRY_BYTES, sha256 } from '@waypost/contracts';
import { compress } from '@waypost/runtime';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral, ServedRange, StreamFault } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';

const TABLES = ['users', 'orders'];
const CREATE = `
  CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
  INSERT INTO users SELECT g, md5(g::text) FROM generate_series(1, 1500) g;
  CREATE TABLE orders (id int PRIMARY KEY, total numeric);
  INSERT INTO orders SELECT g, g / 3.0 FROM generate_series(1, 1500) g;`;
/** Both tables change, so that a fault in the second must take back the first. */
const CHANGE = "UPDATE users SET name = name || '!'; UPDATE orders SET total = total + 1";

const CONTENT = `
  SELECT (SELECT md5(string_agg(u::text, ',' ORDER BY id)) FROM users u) AS users, (SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o) AS orders`;

let server: TestServer;
let source: string;
let central: FakeCentral;
let edge: Edge;
let pair: FakePair;

/** One pair of databases for all faults: each must leave the old data, and heal. */
beforeAll(async () => {
  server = await startTestServer();
  pair = await startFakePair({ server, source: CREATE, tables: TABLES, env: { STALL_TIMEOUT: '200ms' } });
  ({ source, central, edge } = pair);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
});
afterAll(async () => {
  await pair?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

async function mustHeal(fault: (range: ServedRange) => StreamFault | undefined, code: RegExp): Promise<void> {
  const [before] = await edge.query(CONTENT);
  await central.change(CHANGE);
  central.streamFault = (range) => (range.table === 'orders' ? fault(range) : undefined);
  const failed = await edge.sync();
  expect(failed.code).toMatch(code);
  expect(failed.httpStatus).toBeGreaterThanOrEqual(500);
  expect(await edge.query(CONTENT)).toEqual([before]);

  central.heal();
  expect(await edge.sync()).toMatchObject({ httpStatus: 200, status: 'Success' });
  expect(await edge.query(CONTENT)).toEqual(await queryAt(source, CONTENT));
}

/** The stream with its n-th frame replaced, and the index as it was. */
function withFrame({ stream, offset }: ServedRange, at: number, frame: (original: Buffer) => Buffer): Buffer {
  const [start, end] = [stream.borders[at] as number, stream.borders[at + 1] as number];
  const whole = Buffer.concat([stream.bytes.subarray(0, start), frame(stream.bytes.subarray(start, end)), stream.bytes.subarray(end)]);
  return whole.subarray(offset);
}

const frameOf = ({ stream }: ServedRange, at: number): Buffer => stream.bytes.subarray(stream.borders[at], stream.borders[at + 1]);

function flipped(bytes: Buffer, at: number, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ (1 << bit), at);
  return copy;
}

const FAULTS: Record<string, (range: ServedRange) => StreamFault> = {
  'a truncated chunk': (range) => ({ bytes: withFrame(range, 2, (frame) => frame.subarray(0, -10)) }),
  'a truncated chunk, padded with zeros to its length': (range) => ({
    bytes: withFrame(range, 2, (frame) => Buffer.concat([frame.subarray(0, -10), Buffer.alloc(10)])),
  }),
  'a flipped bit in a frame': (range) => ({ bytes: withFrame(range, 1, (frame) => flipped(frame, frame.length >> 1, 3)) }),
  'a flipped bit in the magic': ({ bytes, offset }) => ({ bytes: offset === 0 ? flipped(bytes, 1, 0) : flipped(bytes, 0, 0) }),
  'a flipped bit in the chunk count': ({ bytes }) => ({ bytes: flipped(bytes, 8, 7) }),
  'a flipped bit in a digest of the index': ({ bytes }) => ({ bytes: flipped(bytes, HEADER_BYTES + INDEX_ENTRY_BYTES + 3, 1) }),
  'a flipped bit in a row count of the index': ({ bytes }) => ({ bytes: flipped(bytes, HEADER_BYTES + 35, 1) }),
  'a flipped bit in a frame length of the index': ({ bytes }) => ({ bytes: flipped(bytes, HEADER_BYTES + 43, 0) }),
  'reordered chunks': (range) => ({
    bytes: Buffer.concat([
      range.stream.bytes.subarray(range.offset, range.stream.borders[0]),
      frameOf(range, 1),
      frameOf(range, 0),
      range.stream.bytes.subarray(range.stream.borders[2]),
    ]),
  }),
  'a repeated chunk': (range) => ({ bytes: withFrame(range, 1, () => frameOf(range, 0)) }),
  'a chunk more than the index has': (range) => ({ bytes: Buffer.concat([range.bytes.subarray(0, -1), frameOf(range, 0)]) }),
  'another table': () => ({ bytes: central.stream('users').bytes }),
  'an oversized chunk: the frame holds more rows than its digest names': (range) => ({
    bytes: withFrame(range, 1, () => compress(Buffer.alloc(64 << 10, 7))),
  }),
  'a decompression bomb in the place of a chunk': (range) => ({
    bytes: withFrame(range, 1, (frame) => Buffer.concat([zstdCompressSync(Buffer.alloc(64 << 20)), frame]).subarray(0, frame.length)),
  }),
  'a bomb of the right length: a whole other stream with its own index': () => ({ bytes: bombStream() }),
  'a body that ends too early, as if it were whole': ({ bytes }) => ({ bytes: bytes.subarray(0, -1) }),
  'a body that ends too early, against its announced length': ({ bytes }) => ({
    bytes: bytes.subarray(0, bytes.length >> 1),
    contentLength: bytes.length,
    then: 'break',
  }),
  'a body that stalls': ({ bytes }) => ({ bytes: bytes.subarray(0, 100), contentLength: bytes.length, then: 'hang' }),
  'a body that is announced longer than the manifest says': ({ bytes }) => ({ bytes, contentLength: bytes.length + 1, then: 'break' }),
};

function bombStream(): Buffer {
  const raw = Buffer.alloc(32 << 20);
  const frame = zstdCompressSync(raw);
  const index = new ChunkIndexBuilder('binary');
  index.add({ digest: sha256(raw), rowCount: 1500, rawBytes: raw.length, frameBytes: frame.length });
  return Buffer.concat([index.build().encode(), frame]);
}

test.each(Object.keys(FAULTS))('%s never commits, leaves the old data, and the next cycle heals', async (name) => {
  await mustHeal(FAULTS[name]!, /^(CHUNK_CORRUPT|TRANSFER_STALLED|CENTRAL_UNREACHABLE)$/);
});

test('a body that is longer than announced by the manifest, but starts well, adds nothing', async () => {
  await central.change(CHANGE);
  central.streamFault = ({ bytes }) => ({ bytes: Buffer.concat([bytes, Buffer.from('more')]), contentLength: bytes.length + 4 });
  expect((await edge.sync()).code).toBe('CHUNK_CORRUPT');
  central.heal();
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query(CONTENT)).toEqual(await queryAt(source, CONTENT));
});

test('a body truncated at any byte never commits, and the next request goes on behind a good chunk', async () => {
  await central.change(CHANGE);
  const [before] = await edge.query(CONTENT);
  const { bytes, borders } = central.stream('orders');
  const near = borders.flatMap((border) => [border - 1, border, border + 1]);
  const walked = Array.from({ length: 25 }, (_, step) => Math.floor((step * bytes.length) / 25));
  const lengths = [...new Set([0, 1, 11, 12, 13, 55, 56, 57, ...walked, ...near])]
    .filter((length) => length < bytes.length)
    .sort((a, b) => a - b);
  for (const length of lengths) {
    central.streamFault = (range) => (range.table === 'orders' ? truncatedTo(range, length, 'break') : undefined);
    central.requests.length = 0;
    expect([length, (await edge.sync()).code]).toEqual([length, 'CENTRAL_UNREACHABLE']);
    expect(await edge.query(CONTENT)).toEqual([before]);
    const ranges = central.requests.flatMap(({ range }) => (range === undefined ? [] : [Number(/\d+/.exec(range))]));
    expect(borders.filter((border) => border <= length)).toEqual(expect.arrayContaining(ranges));
  }
  central.heal();
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query(CONTENT)).toEqual(await queryAt(source, CONTENT));
}, 300_000);

test('what is on disk is not downloaded again, also not by the next process', async () => {
  await central.change(CHANGE);
  const { bytes, borders } = central.stream('orders');
  const border = borders[3] as number;
  central.streamFault = (range) => (range.table === 'orders' ? truncatedTo(range, border + 20, 'hang') : undefined);
  expect((await edge.sync()).code).toBe('TRANSFER_STALLED');
  central.heal();
  central.requests.length = 0;
  await edge.restart();
  expect(await edge.sync()).toMatchObject({ status: 'Success', downloadedBytes: bytes.length - border });
  expect(central.requests.flatMap(({ range }) => range ?? [])).toEqual([`bytes=${border}-`]);
  expect(central.downloads('users')).toBe(0);
  expect(await edge.query(CONTENT)).toEqual(await queryAt(source, CONTENT));
});

test('files that were damaged between two cycles are not trusted', async () => {
  await central.change(CHANGE);
  central.streamFault = (range) => (range.table === 'orders' ? truncatedTo(range, range.stream.borders[3] as number, 'hang') : undefined);
  expect((await edge.sync()).code).toBe('TRANSFER_STALLED');
  central.heal();
  for (const file of await edge.spooledFiles()) {
    const content = await readFile(file);
    await writeFile(file, flipped(content, content.length - 100, 2));
  }
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query(CONTENT)).toEqual(await queryAt(source, CONTENT));
});

test('a folder that cannot be written is reported with its name, raises an alert, and changes nothing', async () => {
  await using other = await Edge.start({
    databaseUrl: (await server.createDatabase('full')).url,
    centralUrl: central.url,
    env: { DOWNLOAD_DIR: '/dev/null/x' },
  });
  const answer = await other.sync();
  expect(answer).toMatchObject({ httpStatus: 500, code: 'STORAGE_FAILED', detail: expect.stringContaining('/dev/null/x') as unknown });
  expect((await other.status()).alert).toMatchObject({ code: 'STORAGE_FAILED' });
  expect(await other.query("SELECT FROM pg_tables WHERE schemaname = 'public'")).toEqual([]);
});

function truncatedTo({ stream, offset }: ServedRange, length: number, then: 'break' | 'hang'): StreamFault {
  return { bytes: stream.bytes.subarray(offset, Math.max(length, offset)), contentLength: stream.bytes.length - offset, then };
}
