import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { liveChunkHead, liveHead, sha256 } from '@waypost/contracts';
import { compress } from '@waypost/runtime';
import fc from 'fast-check';
import { copyDataOf } from '../load/copy-data.js';
import { TailReader } from '../chunk-source/tail-reader.js';
import { LiveDownload } from './live-download.js';

const column = { name: 'id', type: 'integer', notNull: true };
const shape = { format: 'text' as const, columns: [column], key: ['id'] };
const PREAMBLE = { schemaVersion: 1, types: [], tables: ['one', 'empty', 'two'].map((name) => ({ name, ...shape })) };
const MANIFEST = { manifestId: 'the manifest' };
const ROWS: Record<string, Buffer[]> = {
  one: Array.from({ length: 4 }, (_, at) => Buffer.from(`${at}\n`.repeat(100))),
  empty: [],
  two: [Buffer.from('7\n'.repeat(300_000)), Buffer.from('8\n')],
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waypost-live-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function json(type: 'preamble' | 'manifest', document: object): Buffer {
  const bytes = Buffer.from(JSON.stringify(document));
  return Buffer.concat([liveHead(type, bytes.length), bytes]);
}

function chunk(bytes: Buffer): Buffer {
  const frame = compress(bytes);
  const rowCount = bytes.toString().split('\n').length - 1;
  return Buffer.concat([liveChunkHead({ digest: sha256(bytes), rowCount, rawBytes: bytes.length, frameBytes: frame.length }), frame]);
}

const TABLES = Object.values(ROWS).map((chunks) => [liveHead('table', 0), ...chunks.map(chunk)]);
const STREAM = Buffer.concat([json('preamble', PREAMBLE), ...TABLES.flat(), json('manifest', MANIFEST)]);

function open(parts: Iterable<Buffer> | AsyncIterable<Buffer>): Promise<LiveDownload> {
  return LiveDownload.open(Readable.from(parts, { objectMode: false }), {
    path: join(folder, 'sub', 'live.part'),
    watch: { stallMs: 60_000, endsAtMs: performance.now() + 60_000 },
    centralTime: undefined,
    onBytes: () => undefined,
  });
}

async function rowsOf(live: LiveDownload): Promise<string[]> {
  const texts: string[] = [];
  for (const table of live.tables) {
    let text = '';
    for await (const bytes of copyDataOf(table, 'text')) text += String(bytes);
    texts.push(text);
  }
  return texts;
}

test('however a live stream is split, its tables and its manifest come out of it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: STREAM.length - 1 }), { maxLength: 12 }), async (cuts) => {
      const borders = [0, ...cuts.toSorted((a, b) => a - b), STREAM.length];
      const parts = borders.slice(1).map((end, at) => Buffer.from(STREAM.subarray(borders[at], end)));
      await using live = await open(parts.filter(({ length }) => length > 0));
      expect(live.preamble).toEqual(PREAMBLE);
      expect(await live.run()).toEqual(MANIFEST);
      expect(live.isWhole).toBe(true);
      expect(await rowsOf(live)).toEqual(Object.values(ROWS).map((chunks) => String(Buffer.concat(chunks))));
    }),
    { seed: 20_261_121, numRuns: 60 },
  );
});

test('tables are read while they come', async () => {
  const more = Promise.withResolvers<void>();
  async function* parts(): AsyncGenerator<Buffer> {
    yield Buffer.concat([json('preamble', PREAMBLE), ...TABLES[0]!, ...TABLES[1]!]);
    await more.promise;
    yield Buffer.concat([...TABLES[2]!, json('manifest', MANIFEST)]);
  }
  await using live = await open(parts());
  const done = live.run();
  const tail = new TailReader(done.then(() => undefined));
  const first = copyDataOf(tail.read(live.tables[0]!), 'text');
  expect(String((await first.next()).value)).toBe(String(ROWS['one']![0]));
  const last = copyDataOf(tail.read(live.tables[2]!), 'text').next();
  more.resolve();
  expect(String((await last).value)).toBe(String(ROWS['two']![0]));
  await done;
});

test('a truncated stream has its manifest, and the reader of a table that is not whole gets an error', async () => {
  await using live = await open([
    json('preamble', PREAMBLE),
    ...TABLES[0]!.slice(0, 3),
    liveHead('truncated', 0),
    json('manifest', MANIFEST),
  ]);
  const tail = new TailReader(live.run().then(() => undefined));
  const reading = (async () => {
    for await (const _ of copyDataOf(tail.read(live.tables[0]!), 'text'));
  })();
  await expect(reading).rejects.toMatchObject({ code: 'TRANSFER_STALLED' });
  expect([tail.timedOut, live.isWhole]).toEqual([true, false]);
});

test.each<[string, Buffer[], string]>([
  ['ends before its manifest', [json('preamble', PREAMBLE), ...TABLES[0]!], 'CENTRAL_UNREACHABLE'],
  ['ends within a chunk', [json('preamble', PREAMBLE), ...TABLES[0]!.slice(0, 1), TABLES[0]![1]!.subarray(0, 60)], 'CENTRAL_UNREACHABLE'],
  ['lacks a table', [json('preamble', PREAMBLE), ...TABLES[0]!, json('manifest', MANIFEST)], 'CHUNK_CORRUPT'],
  ['has a table too many', [json('preamble', PREAMBLE), ...TABLES.flat(), liveHead('table', 0)], 'CHUNK_CORRUPT'],
  ['has chunks before a table', [json('preamble', PREAMBLE), TABLES[0]![1]!, json('manifest', MANIFEST)], 'CHUNK_CORRUPT'],
  ['has two preambles', [json('preamble', PREAMBLE), json('preamble', PREAMBLE)], 'CHUNK_CORRUPT'],
  ['announces more than fits in memory', [json('preamble', PREAMBLE), liveHead('manifest', 2 ** 31)], 'CHUNK_CORRUPT'],
])('a live stream that %s is refused', async (_, parts, code) => {
  await using live = await open(parts);
  await expect(live.run()).rejects.toMatchObject({ code });
});

test.each<[string, Buffer[]]>([
  ['rows', TABLES[0]!],
  ['something else', [Buffer.from('<!doctype html>')]],
  ['a preamble that is none', [json('preamble', { tables: 7 })]],
  ['a document that is not JSON', [liveHead('preamble', 3), Buffer.from('{{{')]],
])('a live stream that begins with %s is refused', async (_, parts) => {
  await expect(open(parts)).rejects.toMatchObject({ code: 'CHUNK_CORRUPT' });
});
