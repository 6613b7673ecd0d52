import { INDEX_ENTRY_BYTES } from './chunk-stream.js';
import { sha256 } from './hashes.js';
import { LIVE_HEAD_BYTES, liveChunkHead, liveHead, readLiveEntry, readLiveHead } from './live-stream.js';

const entry = { digest: sha256(Buffer.from('rows')), rowCount: 7, rawBytes: 4000, frameBytes: 900 };

test('a record says what it is and how long', () => {
  expect(liveHead('preamble', 258).toString('hex')).toBe('4400000000000102');
  for (const type of ['preamble', 'table', 'chunk', 'truncated', 'manifest'] as const)
    expect(readLiveHead(liveHead(type, 70_000))).toEqual({ type, length: 70_000 });
});

test('a chunk’s record holds its index entry, and its length counts entry and frame', () => {
  const bytes = liveChunkHead(entry);
  const { type, length } = readLiveHead(bytes);
  expect([type, length, bytes.length]).toEqual(['chunk', INDEX_ENTRY_BYTES + 900, LIVE_HEAD_BYTES + INDEX_ENTRY_BYTES]);
  expect(readLiveEntry(bytes.subarray(LIVE_HEAD_BYTES), length)).toEqual(entry);
});

test.each([
  ['an unknown type', () => readLiveHead(Buffer.from('5a00000000000000', 'hex'))],
  ['bytes that must be zero', () => readLiveHead(Buffer.from('4400010000000000', 'hex'))],
  ['a length that does not fit', () => readLiveEntry(liveChunkHead(entry).subarray(LIVE_HEAD_BYTES), INDEX_ENTRY_BYTES + 901)],
  ['impossible sizes', () => readLiveEntry(liveChunkHead({ ...entry, rowCount: 0 }).subarray(LIVE_HEAD_BYTES), INDEX_ENTRY_BYTES + 900)],
])('%s is refused', (_, read) => {
  expect(read).toThrow(/^CHUNK_CORRUPT|damaged/);
});
