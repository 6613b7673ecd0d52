import type { ChunkEntry, ChunkIndex } from '@waypost/contracts';
import { releaseMemory } from '@waypost/runtime';

/** Frames are read together, up to about this much. */
const READ_BYTES = 512 << 10;

/** A longer buffer was needed for a long row: it is freed as soon as that is read. */
const LONG_BYTES = 2 * READ_BYTES;

/** A chunk as it lies on disk. */
export interface SpooledFrame {
  entry: ChunkEntry;
  frame: Buffer;
}

/** Buffers of a reader, used again from one range to the next. */
export type FrameMemory = [Buffer, Buffer];

interface FrameRange {
  index: Pick<ChunkIndex, 'entry'>;
  /** Where the first frame of all lies in the file. */
  start: number;
  /** The chunks to read: [from, count). */
  from: number;
  count: number;
  memory: FrameMemory;
  /** Fills the buffer from this position of the file. */
  readInto: (bytes: Buffer, position: number) => Promise<Buffer>;
}

/**
 * Frames that lie one behind the other in a file. The next ones are read while the caller works on these,
 * but beside a long row's frame nothing else is held. A frame is valid only until the caller asks for
 * the next one: its memory is reused or freed.
 */
export async function* readFrames({ index, start, from, count, memory, readInto }: FrameRange): AsyncGenerator<SpooledFrame, void> {
  let position = start;
  for (let at = 0; at < from; at += 1) position += index.entry(at).frameBytes;
  let next = from;
  const readAhead = (): { first: number; bytes: Promise<Buffer> } => {
    const first = next;
    let length = 0;
    while (next < count && length < READ_BYTES) {
      const { frameBytes } = index.entry(next);
      if (length > 0 && frameBytes > READ_BYTES) break;
      length += frameBytes;
      next += 1;
    }
    memory.reverse();
    if (memory[0].length < length) memory[0] = Buffer.allocUnsafeSlow(length + READ_BYTES / 4);
    const bytes = length === 0 ? Promise.resolve(memory[0]) : readInto(memory[0].subarray(0, length), position);
    bytes.catch(() => undefined); // reported when it is awaited
    position += length;
    return { first, bytes };
  };
  for (let block = readAhead(); block.first < count;) {
    const bytes = await block.bytes;
    const until = next;
    const held = memory[0];
    const isLong = held.length > LONG_BYTES || (next < count && index.entry(next).frameBytes > LONG_BYTES);
    const ahead = isLong ? undefined : readAhead();
    for (let at = block.first, begin = 0; at < until; at += 1) {
      const entry = index.entry(at);
      yield { entry, frame: bytes.subarray(begin, begin + entry.frameBytes) };
      begin += entry.frameBytes;
    }
    if (held.length > LONG_BYTES) {
      memory[0] = Buffer.alloc(0);
      releaseMemory(held);
    }
    block = ahead ?? readAhead();
  }
}
