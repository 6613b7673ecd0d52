import fc from 'fast-check';
import { createHash } from 'node:crypto';
import { CHUNK_SOFT_LIMIT_BYTES, MAX_CHUNK_BYTES, MAX_ROW_BYTES } from './chunker.js';
import { WaypostError } from './errors.js';
import {
  BINARY_HEADER,
  BINARY_TRAILER,
  binaryCopy,
  binaryRow,
  type Chunk,
  chunksOf,
  collect,
  type Field,
  int32,
  int8,
  type Shape,
  split,
  uint16,
} from '../testing/copy-stream.js';

const ID_AND_VALUE: Shape = { format: 'binary', fieldCount: 2, keyFields: [0] };
/** Keys (int8) after which a chunk ends, so that short tables have many chunks. */
const BORDER_KEYS = [9, 108, 763, 885, 922, 1065, 1114, 1210, 1327, 1817];

type Table = Map<number, Field>;

const field = fc.option(fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)));
const key = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 0, max: 2000 }) },
  { weight: 1, arbitrary: fc.constantFrom(...BORDER_KEYS) },
);
const table = fc.array(fc.tuple(key, field), { maxLength: 150 }).map((rows): Table => new Map(rows));

/** Rows in key order, as PostgreSQL would send them. */
function copyOf(rows: Table): Buffer {
  return binaryCopy([...rows].sort(([a], [b]) => a - b).map(([id, value]) => [int8(id), value]));
}

function digestsOf(rows: Table): string[] {
  return chunksOf(ID_AND_VALUE, copyOf(rows)).map(({ sha256 }) => sha256);
}

function rejection(action: () => void): string {
  try {
    action();
  } catch (error) {
    if (error instanceof WaypostError) return error.code;
    throw error;
  }
  return 'nothing was thrown';
}

describe('borders', () => {
  test('do not depend on how a binary stream is split into buffers', () => {
    fc.assert(
      fc.property(table, fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 5 }), (rows, sizes) => {
        const stream = copyOf(rows);
        const whole = chunksOf(ID_AND_VALUE, stream);
        expect(chunksOf(ID_AND_VALUE, ...split(stream, sizes))).toEqual(whole);
        expect(chunksOf(ID_AND_VALUE, ...split(stream, [1]))).toEqual(whole);
        expect(chunksOf(ID_AND_VALUE, Buffer.alloc(0), stream, Buffer.alloc(0))).toEqual(whole);
      }),
    );
  });

  test('do not depend on how a text stream is split into buffers', () => {
    const shape: Shape = { format: 'text', fieldCount: 2, keyFields: [0] };
    const id = fc.oneof(fc.integer({ min: 0, max: 2000 }), fc.constantFrom(350, 632, 1446, 1914, 1937));
    const value = fc.string().map((text) => text.replace(/[\t\n\\]/g, ' '));
    const rows = fc.array(fc.tuple(id, value), { maxLength: 80 });
    fc.assert(
      fc.property(rows, fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 5 }), (rows, sizes) => {
        const stream = Buffer.from(rows.map(([id, value]) => `${id}\t${value}\n`).join(''));
        const whole = chunksOf(shape, stream);
        expect(Buffer.concat(whole.map(({ bytes }) => bytes))).toEqual(stream);
        expect(chunksOf(shape, ...split(stream, sizes))).toEqual(whole);
        expect(chunksOf(shape, ...split(stream, [1]))).toEqual(whole);
      }),
    );
  });

  test('lie after every row whose key is a border and, in small tables, nowhere else', () => {
    const rows: Table = new Map(Array.from({ length: 2000 }, (_, id) => [id, null]));
    const ends: number[] = [];
    for (const { bytes } of chunksOf(ID_AND_VALUE, copyOf(rows))) ends.push(Number(bytes.readBigInt64BE(bytes.length - 12)));
    expect(ends).toEqual([...BORDER_KEYS, 1999]);
  });

  test('are the same for a key wherever its column stands and whatever the other columns hold', () => {
    const ids = Array.from({ length: 2000 }, (_, id) => id);
    const rowCounts = (shape: Shape, rows: Field[][]) => chunksOf(shape, binaryCopy(rows)).map(({ rowCount }) => rowCount);
    const first = rowCounts(
      ID_AND_VALUE,
      ids.map((id) => [int8(id), null]),
    );
    const last = rowCounts(
      { format: 'binary', fieldCount: 3, keyFields: [2] },
      ids.map((id) => [Buffer.alloc(id % 7, id), null, int8(id)]),
    );
    expect(last).toEqual(first);
  });
});

describe('chunks', () => {
  test('put together are the rows, without header and trailer', () => {
    fc.assert(
      fc.property(table, (rows) => {
        const stream = copyOf(rows);
        const chunks = chunksOf(ID_AND_VALUE, stream);
        expect(Buffer.concat(chunks.map(({ bytes }) => bytes))).toEqual(
          stream.subarray(BINARY_HEADER.length, stream.length - BINARY_TRAILER.length),
        );
        expect(chunks.reduce((sum, { rowCount }) => sum + rowCount, 0)).toBe(rows.size);
        expect(chunks.every(({ rowCount }) => rowCount > 0)).toBe(true);
      }),
    );
  });

  test('are equal for equal row sets, whatever inserts, updates and deletes led to them', () => {
    const change = fc.tuple(key, fc.option(field, { nil: undefined }));
    fc.assert(
      fc.property(table, fc.array(change), fc.array(change), (goal, detour, order) => {
        const wandered: Table = new Map();
        for (const [id, value] of [...order, ...detour]) {
          if (value === undefined) wandered.delete(id);
          else wandered.set(id, value);
        }
        for (const id of [...wandered.keys()]) if (!goal.has(id)) wandered.delete(id);
        for (const [id, value] of [...goal].reverse()) wandered.set(id, value);
        expect(digestsOf(wandered)).toEqual(digestsOf(goal));
      }),
    );
  });

  test('differ for different row sets', () => {
    fc.assert(
      fc.property(table, table, (a, b) => {
        expect(digestsOf(a).join() === digestsOf(b).join()).toBe(copyOf(a).equals(copyOf(b)));
      }),
    );
  });

  test('end after one row each when rows are of 2 MiB', () => {
    const rows = Array.from({ length: 5 }, (_, id) => [int8(id), Buffer.alloc(2 << 20, id)]);
    const chunks = chunksOf(ID_AND_VALUE, ...split(binaryCopy(rows), [65_536]));
    expect(chunks.map(({ rowCount }) => rowCount)).toEqual([1, 1, 1, 1, 1]);
    expect(chunks.every(({ bytes }, at) => bytes.equals(binaryRow(rows[at] as Field[])))).toBe(true);
  });
});

/** What is left of two lists without their common beginning and end. */
function difference(a: readonly string[], b: readonly string[]): [number, number] {
  const shorter = Math.min(a.length, b.length);
  let start = 0;
  while (start < shorter && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < shorter - start && a.at(-1 - end) === b.at(-1 - end)) end += 1;
  return [a.length - start - end, b.length - start - end];
}

describe('one changed row', () => {
  test('changes the digest of its own chunk only, when its key stays', () => {
    fc.assert(
      fc.property(table, key, field, field, (rows, id, before, after) => {
        const changed = !copyOf(new Map([[id, before]])).equals(copyOf(new Map([[id, after]])));
        const differing = difference(digestsOf(new Map(rows).set(id, before)), digestsOf(new Map(rows).set(id, after)));
        expect(differing).toEqual(changed ? [1, 1] : [0, 0]);
      }),
    );
  });

  test('added or removed replaces one chunk, or where its key is a border joins two or splits one', () => {
    fc.assert(
      fc.property(table, key, field, (rows, id, value) => {
        const without = new Map(rows);
        without.delete(id);
        const [fewer, more] = difference(digestsOf(without), digestsOf(new Map(rows).set(id, value)));
        // The chunk may be new, at the end of the table.
        expect([0, 1]).toContain(fewer);
        expect(BORDER_KEYS.includes(id) ? [1, 2] : [1]).toContain(more);
      }),
    );
  });

  test('leaves alone what lies before its chunk and after the next key border, also where chunks end by their length', () => {
    const size = fc.integer({ min: 100_000, max: 700_000 });
    const keys = fc.uniqueArray(fc.oneof(fc.integer({ min: 0, max: 2000 }), fc.constantFrom(...BORDER_KEYS)), {
      minLength: 3,
      maxLength: 30,
    });
    const content = Buffer.alloc(700_000, 'z');
    fc.assert(
      fc.property(keys, fc.infiniteStream(size), fc.nat(), size, (ids, sizes, pick, newSize) => {
        const before: Table = new Map(ids.map((id) => [id, content.subarray(0, sizes.next().value as number)]));
        const id = ids[pick % ids.length] as number;
        const after = new Map(before).set(id, content.subarray(0, newSize));
        const [a, b] = [before, after].map((rows) => chunksOf(ID_AND_VALUE, copyOf(rows))) as [Chunk[], Chunk[]];
        const nextBorder = Math.min(...ids.filter((other) => other >= id && BORDER_KEYS.includes(other)));
        expect(b.filter((chunk) => lastKeyOf(chunk) < firstKeyAround(a, id)).map(digest)).toEqual(
          a.filter((chunk) => lastKeyOf(chunk) < firstKeyAround(a, id)).map(digest),
        );
        expect(b.filter((chunk) => firstKeyOf(chunk) > nextBorder).map(digest)).toEqual(
          a.filter((chunk) => firstKeyOf(chunk) > nextBorder).map(digest),
        );
      }),
      { numRuns: 40 },
    );
  });
});

const digest = ({ sha256 }: Chunk) => sha256;
const firstKeyOf = ({ bytes }: Chunk) => Number(bytes.readBigInt64BE(6));

function lastKeyOf({ bytes }: Chunk): number {
  let last = 0;
  for (let at = 0; at < bytes.length; at += 18 + bytes.readInt32BE(at + 14)) last = Number(bytes.readBigInt64BE(at + 6));
  return last;
}

/** First key of the chunk that holds the row. */
function firstKeyAround(chunks: readonly Chunk[], id: number): number {
  return firstKeyOf(chunks.find((chunk) => lastKeyOf(chunk) >= id) as Chunk);
}

describe('chunk sizes stay in bounds for', () => {
  const ROWS = 60_000;
  const composite = (at: number) => [int32(Math.floor(at / 40)), int32(at % 40)];
  test.each<[string, (at: number) => Buffer[]]>([
    ['sequential int8 keys', (at) => [int8(at + 1)]],
    ['int8 keys with gaps', (at) => [int8(at * 1000 + 7)]],
    ['int4 keys', (at) => [int32(at)]],
    ['UUIDs', (at) => [createHash('sha256').update(`${at}`).digest().subarray(0, 16)]],
    ['text keys with a long common beginning', (at) => [Buffer.from(`urn:waypost:device:${String(at).padStart(9, '0')}`)]],
    ['composite keys', composite],
    ['timestamps in a fixed step', (at) => [int8(846_000_000_000_000 + at * 60_000_000)]],
  ])('%s', (_, keyAt) => {
    const width = keyAt(0).length;
    const shape: Shape = { format: 'binary', fieldCount: width + 1, keyFields: Array.from({ length: width }, (_, at) => at) };
    const value = Buffer.alloc(20);
    const keys = Array.from({ length: ROWS }, (_, at) => keyAt(at)).sort((a, b) => Buffer.compare(Buffer.concat(a), Buffer.concat(b)));
    const sizes = chunksOf(shape, binaryCopy(keys.map((key) => [...key, value]))).map(({ rowCount }) => rowCount);
    const mean = ROWS / sizes.length;
    expect(mean).toBeGreaterThan(128);
    expect(mean).toBeLessThan(512);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(16 * mean);
  });

  test('rows of any length: below the soft limit plus one row', () => {
    const lengths = fc.array(fc.integer({ min: 0, max: 600_000 }), { maxLength: 20 });
    fc.assert(
      fc.property(lengths, (lengths) => {
        const rows = lengths.map((length, id) => [int8(id), Buffer.alloc(length)]);
        for (const { bytes } of chunksOf(ID_AND_VALUE, ...split(binaryCopy(rows), [65_536]))) {
          const lastRow = 18 + (lengths[lastKeyOf({ bytes, rowCount: 0, sha256: '' })] as number);
          expect(bytes.length - lastRow).toBeLessThan(CHUNK_SOFT_LIMIT_BYTES);
        }
      }),
      { numRuns: 30 },
    );
  });
});

describe('a damaged stream is refused:', () => {
  const rows = [
    [int8(8), Buffer.from('a')],
    [int8(9), null],
    [int8(10), Buffer.from('last')],
  ];
  const stream = binaryCopy(rows);
  const shape = ID_AND_VALUE;

  test('a truncated binary stream never ends well and never yields its last row', () => {
    for (let length = 0; length < stream.length; length += 1) {
      const { chunker, chunks } = collect(shape);
      chunker.push(stream.subarray(0, length));
      expect(rejection(() => chunker.end())).toBe('COPY_MALFORMED');
      // The key 9 is a border: its chunk may have left before the stream broke off.
      expect(chunks.map(({ rowCount }) => rowCount)).toEqual(length < stream.length - 24 ? [] : [2]);
    }
    expect(chunksOf(shape, stream).map(({ rowCount }) => rowCount)).toEqual([2, 1]);
  });

  test('a text stream that stops inside a row never yields that row', () => {
    const shape: Shape = { format: 'text', fieldCount: 2, keyFields: [0] };
    const text = Buffer.from('349\ta\n350\t\\N\n351\tlast\n');
    for (let length = 1; length < text.length; length += 1) {
      const { chunker, chunks } = collect(shape);
      chunker.push(text.subarray(0, length));
      // Text has no trailer: a stream that stops between two rows looks whole. The COPY protocol's own end tells.
      if (text[length - 1] === 0x0a) chunker.end();
      else expect(rejection(() => chunker.end())).toBe('COPY_MALFORMED');
      expect(chunks.map(({ bytes }) => bytes.toString()).join('')).not.toContain('last');
    }
  });

  const row = binaryRow([int8(1), null]);
  test.each<[string, Buffer[]]>([
    ['another signature', [Buffer.from(stream).fill(0x50, 1, 2)]],
    ['a signature mangled by a line-end conversion', [Buffer.from(stream.toString('latin1').replace('\r\n', '\n'), 'latin1')]],
    ['flags that announce another format', [Buffer.from('PGCOPY\n\xff\r\n\0\0\x01\0\0\0\0\0\0', 'latin1')]],
    ['a header extension without bounds', [Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\xff\xff\xff\xff', 'latin1')]],
    ['a field too few', [BINARY_HEADER, binaryRow([int8(1)]), BINARY_TRAILER]],
    ['a field too many', [BINARY_HEADER, binaryRow([int8(1), null, null]), BINARY_TRAILER]],
    ['a row without fields', [BINARY_HEADER, binaryRow([]), BINARY_TRAILER]],
    ['a negative field count that is not the trailer', [BINARY_HEADER, uint16(0xfffe)]],
    ['a field of length -2', [BINARY_HEADER, uint16(2), int32(-2)]],
    ['a field of the smallest length', [BINARY_HEADER, uint16(2), int32(-(2 ** 31))]],
    ['a second field of negative length', [BINARY_HEADER, uint16(2), int32(8), int8(1), int32(-3)]],
    ['a row after the trailer, in the same buffer', [BINARY_HEADER, Buffer.concat([row, BINARY_TRAILER, row])]],
    ['a row after the trailer, in the next buffer', [BINARY_HEADER, row, BINARY_TRAILER, row]],
    ['one byte after the trailer', [BINARY_HEADER, row, BINARY_TRAILER, Buffer.alloc(1)]],
  ])('%s', (_, pieces) => {
    const { chunker } = collect(shape);
    expect(rejection(() => pieces.forEach((piece) => chunker.push(piece)))).toBe('COPY_MALFORMED');
    const oneBuffer = collect(shape);
    expect(rejection(() => oneBuffer.chunker.push(Buffer.concat(pieces)))).toBe('COPY_MALFORMED');
  });

  test.each(['1\n', '1\t2\t3\n', '\n', '1\t2\n1\n'])('text with another number of columns: %j', (text) => {
    const { chunker } = collect({ format: 'text', fieldCount: 2, keyFields: [0] });
    expect(rejection(() => chunker.push(Buffer.from(text)))).toBe('COPY_MALFORMED');
  });
});

describe('a row that is too large is refused', () => {
  test('as soon as a length announces it, before its bytes arrive', () => {
    const { chunker } = collect(ID_AND_VALUE);
    expect(rejection(() => chunker.push(Buffer.concat([BINARY_HEADER, uint16(2), int32(MAX_ROW_BYTES + 1)])))).toBe('ROW_TOO_LARGE');
  });

  test('as soon as its fields together exceed the limit', () => {
    const { chunker } = collect({ format: 'binary', fieldCount: 3, keyFields: [0] });
    const half = Buffer.alloc(MAX_ROW_BYTES / 2);
    chunker.push(Buffer.concat([BINARY_HEADER, uint16(3), int32(half.length), half, int32(half.length)]));
    expect(rejection(() => chunker.push(half))).toBe('ROW_TOO_LARGE');
  });

  test('as text without a line end in sight', () => {
    const { chunker } = collect({ format: 'text', fieldCount: 1, keyFields: [0] });
    const piece = Buffer.alloc(8 << 20, 'z');
    const pushes = MAX_ROW_BYTES / piece.length;
    for (let turn = 0; turn < pushes; turn += 1) chunker.push(piece);
    expect(rejection(() => chunker.push(piece))).toBe('ROW_TOO_LARGE');
  });

  test('but one of exactly the limit is a chunk, even behind a chunk that is one byte short of its end', () => {
    const short = binaryRow([int8(1), Buffer.alloc(CHUNK_SOFT_LIMIT_BYTES - 1 - 18)]);
    const largest = binaryRow([int8(2), Buffer.alloc(MAX_ROW_BYTES - 18)]);
    const pieces = [BINARY_HEADER, short, ...split(largest, [8 << 20]), BINARY_TRAILER];
    const chunks = chunksOf(ID_AND_VALUE, ...pieces);
    expect(chunks.map(({ bytes, rowCount }) => [bytes.length, rowCount])).toEqual([[MAX_CHUNK_BYTES, 2]]);
  });
});
