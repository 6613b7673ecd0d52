import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import { constants, zstdCompressSync } from 'node:zlib';
import { compress, compressAgainst, decompress } from './zstd.js';

const corrupt = expect.objectContaining({ code: 'CHUNK_CORRUPT' }) as Error;
const anyChunk = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 2_000 }),
  fc
    .tuple(fc.uint8Array({ minLength: 1, maxLength: 20 }), fc.integer({ min: 1, max: 5_000 }))
    .map(([unit, times]) => Buffer.alloc(unit.length * times, unit)),
);

test('what was compressed comes back', () => {
  fc.assert(
    fc.property(anyChunk, (bytes) => {
      const chunk = Buffer.from(bytes);
      expect(decompress(compress(chunk), chunk.length).equals(chunk)).toBe(true);
    }),
  );
});

test('a chunk of the largest usual size comes back, also one that cannot be compressed', () => {
  for (const chunk of [Buffer.alloc(3 << 20, 'waypost'), randomBytes(3 << 20)]) {
    expect(decompress(compress(chunk), chunk.length).equals(chunk)).toBe(true);
  }
});

test('a frame that ends exactly with an output buffer is one frame, and one that an earlier version stored is opened', () => {
  const dictionary = randomBytes(2000);
  for (const [length, overhead] of [32_768, 65_536].map(
    (size) => [size, compress(randomBytes(size - 100)).length - (size - 100)] as const,
  )) {
    for (let bytes = length - overhead - 3; bytes <= length - overhead + 3; bytes += 1) {
      const chunk = randomBytes(bytes);
      const frame = compress(chunk);
      expect(frame.length).toBe(bytes + overhead);
      expect(decompress(frame, bytes).equals(chunk)).toBe(true);
      const asStored = (): Buffer => decompress(Buffer.concat([frame, EMPTY]), bytes);
      if (frame.length === length) expect(asStored().equals(chunk)).toBe(true);
      else expect(asStored).toThrow(corrupt);
      expect(() => decompress(Buffer.concat([frame, EMPTY, EMPTY]), bytes)).toThrow(corrupt);
      const against = compressAgainst(dictionary, chunk);
      expect(against.subarray(-EMPTY.length).equals(EMPTY)).toBe(false);
      expect(decompress(against, bytes, dictionary).equals(chunk)).toBe(true);
    }
  }
});

const EMPTY = compress(Buffer.alloc(0));

/** A copy of the frame with one bit changed. */
function flip(frame: Buffer, bit: number): Buffer {
  const damaged = Buffer.from(frame);
  damaged.writeUInt8(damaged.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
  return damaged;
}

/** Whether the frame is refused; if not, it must give the chunk all the same. */
function isRefused(frame: Buffer, chunk: Buffer): boolean {
  let opened: Buffer;
  try {
    opened = decompress(frame, chunk.length);
  } catch (error) {
    expect(error).toEqual(corrupt);
    return true;
  }
  expect(opened.equals(chunk)).toBe(true);
  return false;
}

test('a flipped bit never gives other bytes, wherever it is', () => {
  fc.assert(
    fc.property(anyChunk, fc.nat(), (bytes, at) => {
      const chunk = Buffer.from(bytes);
      const frame = compress(chunk);
      isRefused(flip(frame, at % (frame.length * 8)), chunk);
    }),
    { numRuns: 2_000 },
  );
});

test('every flipped bit of a frame is refused or means nothing, and none of the checksum’s means nothing', () => {
  const chunk = Buffer.from(Array.from({ length: 300 }, (_, at) => `row ${at * 7919}\t`).join(''));
  const frame = compress(chunk);
  const accepted = Array.from({ length: frame.length * 8 }, (_, bit) => bit).filter((bit) => !isRefused(flip(frame, bit), chunk));
  const CHECKSUM_BITS = 32;
  expect(accepted.filter((bit) => bit >= frame.length * 8 - CHECKSUM_BITS)).toEqual([]);
});

test('a frame that was cut anywhere is refused', () => {
  const chunk = Buffer.alloc(5_000, 'waypost');
  const frame = compress(chunk);
  for (let length = 0; length < frame.length; length += 1) {
    expect(() => decompress(frame.subarray(0, length), chunk.length)).toThrow(corrupt);
  }
});

test('a frame of another size than announced is refused', () => {
  const frame = compress(Buffer.alloc(1_000));
  for (const rawBytes of [1, 63, 999, 1_001, 1 << 20]) expect(() => decompress(frame, rawBytes)).toThrow(corrupt);
});

test('what follows the frame is refused: a second frame, or anything else', () => {
  const chunk = Buffer.from('chunk');
  for (const tail of [compress(Buffer.from('x')), compress(Buffer.alloc(0)), Buffer.from([0])]) {
    expect(() => decompress(Buffer.concat([compress(chunk), tail]), chunk.length)).toThrow(corrupt);
  }
});

test('a bomb is refused before it takes memory', () => {
  const bomb = zstdCompressSync(Buffer.alloc(512 << 20));
  const before = process.memoryUsage();
  expect(() => decompress(bomb, 4096)).toThrow(corrupt);
  const after = process.memoryUsage();
  expect(after.arrayBuffers + after.external - before.arrayBuffers - before.external).toBeLessThan(4 << 20);
});

test('a frame that wants a window of more than 8 MiB is refused', () => {
  const chunk = randomBytes(9 << 20);
  const params = { [constants.ZSTD_c_windowLog]: 27, [constants.ZSTD_c_contentSizeFlag]: 0, [constants.ZSTD_c_compressionLevel]: 19 };
  const wide = zstdCompressSync(chunk, { params });
  expect(() => decompress(wide, chunk.length)).toThrow(corrupt);
});
