import type { ChunkIndex } from '@waypost/contracts';

/** A mark for each so many chunks. With marks of 8 bytes that is a hundredth of the index. */
export const MARKED_CHUNKS = 16;
export const MARK_BYTES = 8;

/** Where frames 16, 32, 48… begin, counted from the first frame: 8 bytes each, big-endian. */
export function frameMarks(index: ChunkIndex): Buffer {
  const marks = Buffer.alloc(Math.floor(Math.max(0, index.length - 1) / MARKED_CHUNKS) * MARK_BYTES);
  let start = 0;
  for (let at = 0; at < index.length; at += 1) {
    if (at > 0 && at % MARKED_CHUNKS === 0) marks.writeBigUInt64BE(BigInt(start), (at / MARKED_CHUNKS - 1) * MARK_BYTES);
    start += index.entry(at).frameBytes;
  }
  return marks;
}
