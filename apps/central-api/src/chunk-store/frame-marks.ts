import { HEADER_BYTES, INDEX_ENTRY_BYTES } from '@waypost/contracts';

/** A mark for each so many chunks. With marks of 8 bytes that is a hundredth of the index. */
export const MARKED_CHUNKS = 16;
export const MARK_BYTES = 8;
/** Where an entry of the index has the length of its frame. Whole entries would take ten times as long to read, for each table that is stored. */
const FRAME_LENGTH_AT = INDEX_ENTRY_BYTES - 4;

/** Where frames 16, 32, 48… begin, counted from the first frame: 8 bytes each, big-endian. @param index header and index of a chunk stream */
export function frameMarks(index: Buffer): Buffer {
  const chunks = (index.length - HEADER_BYTES) / INDEX_ENTRY_BYTES;
  const marks = Buffer.alloc(Math.floor(Math.max(0, chunks - 1) / MARKED_CHUNKS) * MARK_BYTES);
  let start = 0;
  for (let at = 0; at < chunks; at += 1) {
    if (at > 0 && at % MARKED_CHUNKS === 0) marks.writeBigUInt64BE(BigInt(start), (at / MARKED_CHUNKS - 1) * MARK_BYTES);
    start += index.readUInt32BE(HEADER_BYTES + at * INDEX_ENTRY_BYTES + FRAME_LENGTH_AT);
  }
  return marks;
}
