import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkEntry, ChunkIndex, ChunkIndexBuilder, sha256, WaypostError } from '@waypost/contracts';
import { compress } from '@waypost/runtime';
import fc from 'fast-check';
import pino from 'pino';
import type { StreamExpectation } from '../chunk-source/check-index.js';
import { InterruptedStream } from './interrupted-stream.js';
import { LiveSpool } from './live-spool.js';
import { SpooledTable } from './spooled-table.js';

const LOG = pino({ level: 'silent' });
const NEVER = new AbortController().signal;
const shape = { format: 'text' as const, columns: [{ name: 'id', type: 'integer', notNull: true }], key: ['id'] };

interface Table {
  promise: StreamExpectation;
  entries: ChunkEntry[];
  index: Buffer;
  frames: Buffer[];
}

const ONE = tableOf('one', 5);
const EMPTY = tableOf('empty', 0);
const TWO = tableOf('two', 8);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waypost-kept-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function tableOf(name: string, chunkCount: number): Table {
  const builder = new ChunkIndexBuilder('text');
  const chunks = Array.from({ length: chunkCount }, (_, at) =>
    Buffer.from(
      Array.from({ length: 100 + at }, (_row, row) => `${sha256(Buffer.from(`${name} ${at} ${row}`)).toString('hex')}\n`).join(''),
    ),
  );
  const frames = chunks.map((chunk) => compress(chunk));
  const entries = chunks.map((chunk, at) => ({
    digest: sha256(chunk),
    rowCount: 100 + at,
    rawBytes: chunk.length,
    frameBytes: frames[at]!.length,
  }));
  for (const entry of entries) builder.add(entry);
  const index = builder.build();
  const { frameBytes, ...totals } = index.totals();
  const encoded = index.encode();
  return { promise: { name, format: 'text', ...totals, streamBytes: encoded.length + frameBytes }, entries, index: encoded, frames };
}

const livePath = (): string => join(folder, 'live.part');

/** What a live stream leaves that broke within the last table. */
async function leave(lastChunks: number): Promise<void> {
  const spool = await LiveSpool.open(
    livePath(),
    [ONE, EMPTY, TWO].map(({ promise: { name } }) => ({ name, ...shape })),
  );
  for (const { frames, entries } of [ONE, EMPTY, { frames: TWO.frames.slice(0, lastChunks), entries: TWO.entries.slice(0, lastChunks) }]) {
    spool.beginTable();
    if (frames.length > 0) await spool.append(Buffer.concat(frames), entries);
  }
  await spool.close();
}

/** As after central has sent its index. */
async function openSpool({ promise, index }: Table, hasIndex: boolean): Promise<SpooledTable> {
  const path = join(folder, `${promise.name}.spool`);
  await rm(path, { force: true });
  const spooled = await SpooledTable.open(path, promise);
  if (hasIndex) await spooled.appendIndex(index, ChunkIndex.decode(index));
  return spooled;
}

async function fill(table: Table, hasIndex: boolean): Promise<{ chunks: number; isComplete: boolean; bytes: Buffer }> {
  const interrupted = await InterruptedStream.open(livePath(), LOG);
  const spooled = await openSpool(table, hasIndex);
  try {
    await interrupted?.fill(spooled, NEVER);
    return {
      chunks: spooled.chunkCount,
      isComplete: spooled.complete,
      bytes: await readFile(join(folder, `${table.promise.name}.spool`)),
    };
  } finally {
    await spooled.close();
    await interrupted?.close();
  }
}

test('a table that came in full is taken without its index from central, also an empty one', async () => {
  await leave(3);
  for (const table of [ONE, EMPTY]) {
    const { isComplete, bytes } = await fill(table, false);
    expect([isComplete, bytes.equals(Buffer.concat([table.index, ...table.frames]))]).toEqual([true, true]);
  }
});

test('of a table that came in part, its leading chunks are taken once its index is there', async () => {
  await leave(3);
  expect(await fill(TWO, false)).toMatchObject({ chunks: 0 });
  const { chunks, bytes } = await fill(TWO, true);
  expect([chunks, bytes.equals(Buffer.concat([TWO.index, ...TWO.frames.slice(0, 3)]))]).toEqual([3, true]);
});

test('a spooled table that was taken in full survives a restart, though central never named its ETag', async () => {
  await leave(3);
  await fill(ONE, false);
  const spooled = await SpooledTable.open(join(folder, 'one.spool'), ONE.promise);
  expect(spooled.complete).toBe(true);
  await spooled.close();
});

test('another table of the same name has nothing in common with it', async () => {
  await leave(3);
  const other = tableOf('other', 5);
  expect(await fill({ ...other, promise: { ...other.promise, name: 'one' } }, true)).toMatchObject({ chunks: 0 });
});

test('when all of it is used up, its files are removed', async () => {
  await leave(3);
  const interrupted = (await InterruptedStream.open(livePath(), LOG))!;
  for (const table of [ONE, EMPTY, TWO]) {
    expect((await readdir(folder)).filter((name) => name.startsWith('live'))).toHaveLength(2);
    const spooled = await openSpool(table, true);
    await interrupted.fill(spooled, NEVER);
    await spooled.close();
  }
  expect((await readdir(folder)).filter((name) => name.startsWith('live'))).toEqual([]);
  await interrupted.close();
});

test('where the disk is full, it gives its space to the download', async () => {
  await leave(3);
  const interrupted = (await InterruptedStream.open(livePath(), LOG))!;
  const spooled = await openSpool(ONE, true);
  const write = spooled.appendFrames.bind(spooled);
  spooled.appendFrames = async (frames, count) => {
    if (spooled.chunkCount === 2) throw new WaypostError('STORAGE_FAILED', { detail: 'no space left' });
    await write(frames, count);
  };
  await interrupted.fill(spooled, NEVER);
  expect([spooled.chunkCount, interrupted.hasNext(spooled)]).toEqual([2, false]);
  expect((await readdir(folder)).filter((name) => name.startsWith('live'))).toEqual([]);
  await spooled.close();
  await interrupted.close();
});

test('of a live stream that brought nothing, nothing is kept', async () => {
  const spool = await LiveSpool.open(livePath(), [{ name: 'one', ...shape }]);
  spool.beginTable();
  await spool.close();
  expect(await readdir(folder)).toEqual([]);
  expect(await InterruptedStream.open(livePath(), LOG)).toBeUndefined();
});

const place = fc.integer({ min: 0, max: 9999 }).map((part) => part / 10_000);
const damage: fc.Arbitrary<(bytes: Buffer) => Buffer> = fc.oneof(
  fc.tuple(place, fc.integer({ min: 1, max: 255 })).map(
    ([at, by]) =>
      (bytes: Buffer) =>
        edit(bytes, at, (byte) => byte ^ by, 1),
  ),
  fc.tuple(place, fc.integer({ min: 1, max: 400 })).map(
    ([at, length]) =>
      (bytes: Buffer) =>
        edit(bytes, at, () => 0, length),
  ),
  fc.tuple(place, fc.integer({ min: 1, max: 60 })).map(
    ([at, length]) =>
      (bytes: Buffer) =>
        edit(bytes, at, () => 255, length),
  ),
  place.map((at) => (bytes: Buffer) => bytes.subarray(0, at * bytes.length)),
  place.map((at) => (bytes: Buffer) => Buffer.concat([bytes.subarray(0, at * bytes.length), Buffer.alloc(3000)])),
);

function edit(bytes: Buffer, place: number, change: (byte: number) => number, length: number): Buffer {
  const at = Math.floor(place * bytes.length);
  const copy = Buffer.from(bytes);
  copy.subarray(at, at + length).forEach((byte, offset) => copy.writeUInt8(change(byte), at + offset));
  return copy;
}

test('whatever became of its files, nothing but a table’s own leading chunks is taken', async () => {
  await leave(6);
  const files = [livePath(), `${livePath()}.index`];
  const good = await Promise.all(files.map((file) => readFile(file)));
  const which = fc.constantFrom(0, 1);
  let taken = 0;
  await fc.assert(
    fc.asyncProperty(which, fc.array(damage, { minLength: 1, maxLength: 3 }), fc.boolean(), async (file, steps, hasIndex) => {
      await Promise.all(files.map((path, at) => writeFile(path, good[at]!)));
      await writeFile(
        files[file]!,
        steps.reduce<Buffer>((bytes, step) => step(bytes), good[file]!),
      );
      for (const table of [ONE, TWO]) {
        const { chunks, bytes } = await fill(table, hasIndex);
        taken += chunks;
        const expected = chunks > 0 || hasIndex ? [table.index, ...table.frames.slice(0, chunks)] : [];
        const isGood = bytes.equals(Buffer.concat(expected)) || (chunks === 0 && bytes.equals(table.index));
        if (!isGood) throw new Error('something else was taken');
      }
    }),
    { seed: 20_261_126, numRuns: 400 },
  );
  expect(taken).toBeGreaterThan(400);
});
