import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChunkIndexBuilder, sha256, WaypostError } from '@waypost/contracts';
import { compress } from '@waypost/runtime';
import fc from 'fast-check';
import { copyDataOf } from '../load/copy-data.js';
import type { StreamExpectation } from '../chunk-source/check-index.js';
import { SpooledTable } from './spooled-table.js';
import { StreamReceiver } from './stream-receiver.js';

/** What comes over the wire, or lies on the disk, and is not what central sent. */

const SEED = 20_261_121;
const RUNS = { wire: 4000, disk: 1000 };
const MAX_GROWTH_BYTES = 256 << 20;

/** Nine chunks of text rows, one of them large, as central would frame them. */
const ROWS = Array.from({ length: 9 }, (_, chunk) =>
  Buffer.from(
    Array.from({ length: chunk === 4 ? 1500 : 20 }, (__, row) => `${chunk * 100_000 + row}\tvalue ${(row * 7919) % 1009}\n`).join(''),
  ),
);
const { stream, promise, borders } = streamOf(ROWS);
const CONTENT = Buffer.concat(ROWS);

let folder: string;
let path: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waypost-fuzz-'));
  path = join(folder, 'stream.part');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function streamOf(chunks: readonly Buffer[]): { stream: Buffer; promise: StreamExpectation; borders: number[] } {
  const builder = new ChunkIndexBuilder('text');
  const frames = chunks.map((chunk) => {
    const frame = compress(chunk);
    builder.add({
      digest: sha256(chunk),
      rowCount: chunk.toString().split('\n').length - 1,
      rawBytes: chunk.length,
      frameBytes: frame.length,
    });
    return frame;
  });
  const index = builder.build();
  const { rowCount, rawBytes, sha256: hash } = index.totals();
  const parts = [index.encode(), ...frames];
  const bytes = Buffer.concat(parts);
  let end = 0;
  const ends = parts.map((part) => (end += part.length));
  return {
    stream: bytes,
    promise: { name: 't', format: 'text', rowCount, rawBytes, sha256: hash, streamBytes: bytes.length },
    borders: ends,
  };
}

type Mutation = (bytes: Buffer) => Buffer;

const place = fc.oneof(
  fc.integer({ min: 0, max: stream.length - 1 }),
  fc.integer({ min: 0, max: borders[0] as number }),
  fc.constantFrom(...borders.flatMap((border) => [border - 1, border]).filter((border) => border < stream.length)),
);
const part = fc.tuple(
  place,
  fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: 64 }) }, fc.integer({ min: 1, max: stream.length })),
);
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.tuple(place, fc.integer({ min: 0, max: 7 })).map(
    ([at, bit]) =>
      (bytes: Buffer) =>
        edit(bytes, at, Buffer.from([(bytes[at] ?? 0) ^ (1 << bit)])),
  ),
  fc.tuple(place, fc.uint8Array({ minLength: 1, maxLength: 64 })).map(
    ([at, random]) =>
      (bytes: Buffer) =>
        edit(bytes, at, Buffer.from(random)),
  ),
  // The sizes in header and index, with the values at which arithmetic goes wrong.
  fc.tuple(fc.integer({ min: 2, max: 3 + 11 * 9 }), fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff)).map(
    ([word, value]) =>
      (bytes: Buffer) =>
        edit(bytes, word * 4, uint32(value)),
  ),
  part.map(
    ([at, length]) =>
      (bytes: Buffer) =>
        Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]),
  ),
  part.map(
    ([at, length]) =>
      (bytes: Buffer) =>
        Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]),
  ),
  fc.tuple(place, place).map(
    ([from, to]) =>
      (bytes: Buffer) =>
        edit(bytes, to, bytes.subarray(from, from + 200)),
  ),
  place.map((at) => (bytes: Buffer) => bytes.subarray(0, at)),
  place.map((at) => (bytes: Buffer) => Buffer.concat([bytes.subarray(0, at), Buffer.alloc(Math.max(0, bytes.length - at))])),
  fc.uint8Array({ minLength: 1, maxLength: 2000 }).map((random) => (bytes: Buffer) => Buffer.concat([bytes, random])),
);
const mutations = fc.array(mutation, { minLength: 1, maxLength: 3 });

function edit(bytes: Buffer, at: number, by: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), by, bytes.subarray(at + by.length)]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

const mutated = (steps: readonly Mutation[]): Buffer => steps.reduce((bytes, step) => step(bytes), stream);

/** What would go into COPY. */
async function contentOf(spooled: SpooledTable): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const bytes of copyDataOf(spooled, 'text')) parts.push(Buffer.from(bytes));
  return Buffer.concat(parts);
}

/** Nothing else is allowed but the very rows that were promised, or an error that says what is wrong. */
async function expectAllOrNothing(spooled: SpooledTable): Promise<void> {
  try {
    expect((await contentOf(spooled)).equals(CONTENT)).toBe(true);
  } catch (error) {
    expect(codeOf(error)).toBe('CHUNK_CORRUPT');
  }
}

function codeOf(error: unknown): string {
  if (error instanceof WaypostError) return error.code;
  throw error;
}

async function boundedMemory(work: () => Promise<void>): Promise<void> {
  const before = process.memoryUsage().rss;
  await work();
  expect(process.memoryUsage().rss - before).toBeLessThan(MAX_GROWTH_BYTES);
}

test('the stream as it is gives all its rows', async () => {
  const spooled = await SpooledTable.open(path, promise);
  await spooled.restart('"e"');
  const receiver = new StreamReceiver(spooled);
  await receiver.push(Buffer.from(stream));
  await receiver.settle();
  expect((await contentOf(spooled)).equals(CONTENT)).toBe(true);
  await spooled.close();
});

test(`${RUNS.wire} altered streams: the promised rows or CHUNK_CORRUPT, and what is kept is good`, async () => {
  await boundedMemory(() =>
    fc.assert(
      fc.asyncProperty(mutations, fc.integer({ min: 1, max: 20_000 }), async (steps, pieceBytes) => {
        const bytes = mutated(steps);
        const spooled = await SpooledTable.open(path, promise);
        try {
          await spooled.restart('"e"');
          const receiver = new StreamReceiver(spooled);
          try {
            const size = Math.max(pieceBytes, bytes.length >> 6);
            for (let at = 0; at < bytes.length; at += size) await receiver.push(Buffer.from(bytes.subarray(at, at + size)));
          } catch (error) {
            expect(codeOf(error)).toBe('CHUNK_CORRUPT');
          }
          await receiver.settle();
          expect(spooled.length).toBeLessThanOrEqual(promise.streamBytes);
          if (spooled.length > 0) expect(borders).toContain(spooled.length);
          await expectAllOrNothing(spooled);
        } finally {
          await spooled.close();
        }
      }),
      { numRuns: RUNS.wire, seed: SEED },
    ),
  );
});

test(`${RUNS.disk} altered files: only what is good is taken up, and the rest can be fetched`, async () => {
  await boundedMemory(() =>
    fc.assert(
      fc.asyncProperty(mutations, async (steps) => {
        await writeFile(path, mutated(steps));
        await writeFile(`${path}.etag`, '"e"');
        const spooled = await SpooledTable.open(path, promise);
        try {
          if (spooled.length > 0) expect(borders).toContain(spooled.length);
          const receiver = new StreamReceiver(spooled);
          await receiver.push(Buffer.from(stream.subarray(spooled.length)));
          await receiver.settle();
          expect((await contentOf(spooled)).equals(CONTENT)).toBe(true);
        } finally {
          await spooled.close();
        }
      }),
      { numRuns: RUNS.disk, seed: SEED },
    ),
  );
});
