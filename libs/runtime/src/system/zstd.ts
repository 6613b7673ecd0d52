import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { WaypostError } from '@waypost/contracts';

/** Without its checksum, zstd accepted 45 of 60 flipped bits; with it, none. */
const LEVEL_1_WITH_CHECKSUM = { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 };
/** With a dictionary level 3 is as fast, and finds more in it. */
const LEVEL_3_WITH_CHECKSUM = { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_checksumFlag]: 1 };
/** 8 MiB, the most that these levels need; a frame that asks for more memory is refused. */
const MAX_WINDOW_LOG = { [constants.ZSTD_d_windowLogMax]: 23 };
/** One output buffer holds a usual frame: 0.40 s instead of 0.50 s for 232 MB. */
const OUTPUT_PIECE_BYTES = 32 << 10;
/** A longer chunk (one with a long row) gets one output buffer: joining pieces would hold its frame in memory twice. */
const LONG_CHUNK_BYTES = 2 << 20;

/** What zstd makes of nothing, with its checksum. */
const EMPTY_FRAME = Buffer.from('28b52ffd240001000099e9d851', 'hex');

/** How much longer than its content a frame's or a restored chunk's memory may be: for releaseMemory. */
export const ZSTD_SLACK_BYTES = OUTPUT_PIECE_BYTES;

/**
 * One zstd frame with checksum. Synchronous on purpose: a chunk takes about 0.1 ms, and by way of Node's thread pool the same
 * 232 MB took 1.2 s and 1.1 s of CPU instead of 0.5 s.
 */
export function compress(chunk: Buffer): Buffer {
  const chunkSize = chunk.length > LONG_CHUNK_BYTES ? chunk.length + (chunk.length >> 8) + 1024 : OUTPUT_PIECE_BYTES;
  return oneFrame(zstdCompressSync(chunk, { chunkSize, params: LEVEL_1_WITH_CHECKSUM }), chunkSize);
}

/** As `compress`, for bytes that are much like others: what the dictionary has costs next to nothing. */
export function compressAgainst(dictionary: Buffer, bytes: Buffer): Buffer {
  const chunkSize = OUTPUT_PIECE_BYTES;
  return oneFrame(zstdCompressSync(bytes, { dictionary, chunkSize, params: LEVEL_3_WITH_CHECKSUM }), chunkSize);
}

/** Where a frame ends exactly with an output buffer, Node calls zstd once more, which begins another frame and ends it. */
function oneFrame(frame: Buffer, chunkSize: number): Buffer {
  const end = frame.length - EMPTY_FRAME.length;
  const hasAnother = end > 0 && end % chunkSize === 0 && frame.subarray(end).equals(EMPTY_FRAME);
  return hasAnother ? frame.subarray(0, end) : frame;
}

/**
 * Restores a chunk; synchronous for the same reason.
 * @param rawBytes its length by its index entry: more is never written, less is refused
 * @param dictionary what it was compressed against
 * @throws WaypostError CHUNK_CORRUPT
 */
export function decompress(frame: Buffer, rawBytes: number, dictionary?: Buffer): Buffer {
  const chunk = inflate(frame, rawBytes, dictionary);
  if (chunk.length !== rawBytes) {
    throw new WaypostError('CHUNK_CORRUPT', { detail: `A chunk holds ${chunk.length} bytes, ${rawBytes} were announced.` });
  }
  return chunk;
}

function inflate(frame: Buffer, rawBytes: number, dictionary: Buffer | undefined): Buffer {
  const { buffer, engine } = inflateFirstFrame(frame, rawBytes, dictionary);
  // zlib drops silently what follows the first frame.
  const rest = frame.subarray(engine.bytesWritten);
  // Of chunks that earlier versions have stored, frames of such a length have an empty one behind them.
  const isOld = engine.bytesWritten % OUTPUT_PIECE_BYTES === 0 && rest.equals(EMPTY_FRAME);
  if (rest.length === 0 || isOld) return buffer;
  throw new WaypostError('CHUNK_CORRUPT', { detail: `${frame.length - engine.bytesWritten} bytes follow the zstd frame of a chunk.` });
}

function inflateFirstFrame(
  frame: Buffer,
  rawBytes: number,
  dictionary: Buffer | undefined,
): { buffer: Buffer; engine: { bytesWritten: number } } {
  // One byte more, else zlib allocates a second buffer to check for further output.
  const limits = { chunkSize: Math.max(rawBytes + 1, 64), maxOutputLength: rawBytes, params: MAX_WINDOW_LOG };
  const options = { ...limits, ...(dictionary ? { dictionary } : {}), info: true };
  try {
    // Its types do not know what `info` does: the engine says how much of the input it took.
    return zstdDecompressSync(frame, options) as unknown as { buffer: Buffer; engine: { bytesWritten: number } };
  } catch (cause) {
    throw new WaypostError('CHUNK_CORRUPT', { detail: 'A chunk is not a valid zstd frame of the announced size.', cause });
  }
}
