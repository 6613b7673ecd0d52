import fc from 'fast-check';
import { type ChunkEntry, ChunkIndex, ChunkIndexBuilder, HEADER_BYTES, INDEX_ENTRY_BYTES } from './chunk-stream.js';
import { MAX_CHUNK_BYTES, type RowFormat } from './chunker.js';
import { EMPTY_TABLE_SHA256, sha256, tableSha256 } from './hashes.js';

const format = fc.constantFrom<RowFormat>('binary', 'text');
const entry: fc.Arbitrary<ChunkEntry> = fc.record({
  digest: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes)),
  rowCount: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
  rawBytes: fc.integer({ min: 1, max: MAX_CHUNK_BYTES }),
  frameBytes: fc.integer({ min: 1, max: MAX_CHUNK_BYTES }),
});
const entries = fc.array(entry, { maxLength: 200 });

function indexOf(format: RowFormat, entries: readonly ChunkEntry[]): ChunkIndex {
  const builder = new ChunkIndexBuilder(format);
  for (const entry of entries) builder.add(entry);
  return builder.build();
}

const ONE: ChunkEntry = { digest: sha256(Buffer.from('rows')), rowCount: 3, rawBytes: 45, frameBytes: 50 };
const corrupt = expect.objectContaining({ code: 'CHUNK_CORRUPT' }) as Error;

describe('an index of chunks', () => {
  test('is the same after encoding and decoding', () => {
    fc.assert(
      fc.property(format, entries, (format, entries) => {
        const bytes = indexOf(format, entries).encode();
        expect(bytes.length).toBe(HEADER_BYTES + entries.length * INDEX_ENTRY_BYTES);
        expect(ChunkIndex.encodedBytes(bytes.subarray(0, HEADER_BYTES))).toBe(bytes.length);
        const decoded = ChunkIndex.decode(bytes);
        expect([decoded.format, decoded.length, [...decoded]]).toEqual([format, entries.length, entries]);
        expect(decoded.encode()).toEqual(bytes);
      }),
    );
  });

  test('has these bytes', () => {
    const hex = indexOf('text', [ONE]).encode().toString('hex');
    expect(hex).toBe(`57504331 01 000000 00000001 ${ONE.digest.toString('hex')} 00000003 0000002d 00000032`.replaceAll(' ', ''));
    expect(ChunkIndex.empty('binary').encode().toString('hex')).toBe('57504331 00 000000 00000000'.replaceAll(' ', ''));
  });

  test('sums up its chunks and names the table by their digests in order', () => {
    fc.assert(
      fc.property(format, entries, (format, entries) => {
        const sum = (of: (entry: ChunkEntry) => number) => entries.reduce((total, entry) => total + of(entry), 0);
        expect(indexOf(format, entries).totals()).toEqual({
          rowCount: sum(({ rowCount }) => rowCount),
          rawBytes: sum(({ rawBytes }) => rawBytes),
          frameBytes: sum(({ frameBytes }) => frameBytes),
          sha256: tableSha256(entries.map(({ digest }) => digest)),
        });
      }),
    );
  });

  test('of no chunks is the empty table', () => {
    expect(ChunkIndex.empty('text').totals()).toEqual({ rowCount: 0, rawBytes: 0, frameBytes: 0, sha256: EMPTY_TABLE_SHA256 });
    expect([...ChunkIndex.decode(new ChunkIndexBuilder('text').build().encode())]).toEqual([]);
  });

  test('does not change when its builder goes on', () => {
    const builder = new ChunkIndexBuilder('binary');
    builder.add(ONE);
    const built = builder.build();
    for (let turn = 0; turn < 100; turn += 1) builder.add({ ...ONE, rowCount: 9 });
    expect([...built]).toEqual([ONE]);
  });
});

describe('a damaged chunk stream is refused:', () => {
  const good = indexOf('binary', [ONE, ONE]).encode();
  const patched = (at: number, hex: string) => {
    const bytes = Buffer.from(good);
    bytes.write(hex, at, 'hex');
    return bytes;
  };

  test.each<[string, Buffer]>([
    ['no bytes at all', Buffer.alloc(0)],
    ['an HTML page', Buffer.from('<!DOCTYPE html><title>Sign in</title>')],
    ['another version', patched(3, '32')],
    ['an unknown format', patched(4, '02')],
    ['a reserved byte that is set', patched(7, '01')],
  ])('%s', (_, bytes) => {
    expect(() => ChunkIndex.decode(bytes)).toThrow(corrupt);
    expect(() => ChunkIndex.encodedBytes(bytes)).toThrow(corrupt);
  });

  test.each<[string, Buffer]>([
    ['a count above the entries', patched(8, '00000003')],
    ['a count below the entries', patched(8, '00000001')],
    ['the largest count', patched(8, 'ffffffff')],
    ['a byte too many', Buffer.concat([good, Buffer.alloc(1)])],
    ['a chunk without rows', patched(HEADER_BYTES + 32, '00000000')],
    ['a chunk without bytes', patched(HEADER_BYTES + 36, '00000000')],
    ['a chunk longer than any chunk', patched(HEADER_BYTES + 36, (MAX_CHUNK_BYTES + 1).toString(16).padStart(8, '0'))],
    ['an empty frame', patched(HEADER_BYTES + 40, '00000000')],
    ['a frame longer than any frame', patched(HEADER_BYTES + 40, 'ffffffff')],
    ['an impossible last chunk', patched(HEADER_BYTES + INDEX_ENTRY_BYTES + 32, '00000000')],
  ])('%s', (_, bytes) => {
    expect(() => ChunkIndex.decode(bytes)).toThrow(corrupt);
  });

  test('an index that is cut off anywhere', () => {
    for (let length = 0; length < good.length; length += 1) expect(() => ChunkIndex.decode(good.subarray(0, length))).toThrow(corrupt);
    expect(ChunkIndex.decode(good).length).toBe(2);
  });
});
