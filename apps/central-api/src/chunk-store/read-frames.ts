import { crc32 } from 'node:zlib';
import type { ChunkEntry, ChunkIndex } from '@waypost/contracts';
import type { BlobReader } from './blobs/blob-store.js';
import type { ChunkCatalog, ChunkPlace } from './chunk-catalog.js';
import { contiguousRanges, lengthOf } from './contiguous-ranges.js';

/** Places that are looked up at once: some 10 MB of frames. */
const LOOKED_UP = 512;
/** What is read at once, unless one frame is longer; a receiver that takes nothing holds this in memory, twice. */
const READ_BYTES = 64 << 10;
/** A longer frame, one of a long row, is never in memory as a whole. */
const LONG_FRAME_BYTES = 2 << 20;

/** Packs that stay open while others are read. */
const OPEN_PACKS = 4;

/** What should be stored is not, or not as it was written. */
export class LostChunks extends Error {
  override readonly name = 'LostChunks';
  constructor(
    message: string,
    /** Without it nothing is known of the chunk. */
    readonly packId?: string,
    /** Without it the whole pack is lost. */
    readonly digest?: Buffer,
  ) {
    super(message);
  }
}

/** A chunk of the index that is read, and where it is. */
export interface PlacedChunk extends ChunkPlace {
  digest: Buffer;
}

export interface FrameSource {
  /** Undefined where the pack is gone. */
  openPack: (packId: string) => Promise<BlobReader | undefined>;
  /** Places of some chunks from this one on; none past the last. @throws LostChunks */
  locate: (at: number) => Promise<readonly PlacedChunk[]>;
}

/** Where to begin. */
export interface FramePosition {
  /** Which chunk. */
  at: number;
  /** Bytes of its frame that are not wanted. */
  skip: number;
}

/**
 * The frames of an index, from a position on. Frames that lie side by side in a pack are read together; each is compared with its checksum
 * before it is given. Memory holds what is read at once, and the places of 512 frames. Four packs are open at a time.
 * @throws LostChunks
 */
export async function* readFrames({ openPack, locate }: FrameSource, from: FramePosition): AsyncGenerator<Buffer> {
  let { at, skip } = from;
  const packs = new OpenPacks(openPack);
  /** Where a pack was found to be gone: its chunks may have moved to another, once. */
  let goneAt = -1;
  try {
    for (let places = await locate(at); places.length > 0; places = await locate(at)) {
      for (const range of contiguousRanges(places, READ_BYTES)) {
        const [first] = range as [PlacedChunk];
        const { packId } = first;
        const reader = await packs.get(packId);
        if (!reader && goneAt === at) throw new LostChunks('it is gone', packId);
        if (!reader) {
          goneAt = at;
          break;
        }
        if (lengthOf(range) > LONG_FRAME_BYTES) {
          yield* readLongFrame(reader, first, skip);
        } else {
          const frames = await readRange(reader, range);
          yield skip === 0 ? frames : frames.subarray(skip);
        }
        at += range.length;
        skip = 0;
      }
    }
  } finally {
    await packs.close();
  }
}

/** Chunks that changed at different times lie in different packs: those that were read last stay open. */
class OpenPacks {
  private readonly readers = new Map<string, BlobReader>();

  constructor(private readonly openPack: FrameSource['openPack']) {}

  async get(packId: string): Promise<BlobReader | undefined> {
    const reader = this.readers.get(packId) ?? (await this.openPack(packId));
    this.readers.delete(packId);
    if (reader) this.readers.set(packId, reader);
    const [oldest] = this.readers;
    if (oldest && this.readers.size > OPEN_PACKS) {
      this.readers.delete(oldest[0]);
      await oldest[1].close();
    }
    return reader;
  }

  async close(): Promise<void> {
    for (const reader of this.readers.values()) await reader.close();
  }
}

/** Whole frames, side by side. @throws LostChunks */
async function readRange(reader: BlobReader, range: readonly PlacedChunk[]): Promise<Buffer> {
  const { packId, start } = range[0] as PlacedChunk;
  const length = lengthOf(range);
  const bytes = await reader.read(start, length);
  if (bytes.length < length) throw new LostChunks('it is cut', packId);
  for (const frame of range) {
    const from = frame.start - start;
    if (crc32(bytes.subarray(from, from + frame.frameBytes)) !== frame.crc32) {
      throw new LostChunks('a frame in it is damaged', packId, frame.digest);
    }
  }
  return bytes;
}

/** Reads it twice: to compare it with its checksum, then to give it, in pieces. @throws LostChunks */
async function* readLongFrame(reader: BlobReader, place: PlacedChunk, skip: number): AsyncGenerator<Buffer> {
  let checksum = 0;
  for await (const piece of readPieces(reader, place, 0)) checksum = crc32(piece, checksum);
  if (checksum !== place.crc32) throw new LostChunks('a frame in it is damaged', place.packId, place.digest);
  yield* readPieces(reader, place, skip);
}

async function* readPieces(reader: BlobReader, { packId, start, frameBytes }: ChunkPlace, skip: number): AsyncGenerator<Buffer> {
  for (let at = skip; at < frameBytes; at += READ_BYTES) {
    const length = Math.min(READ_BYTES, frameBytes - at);
    const piece = await reader.read(start + at, length);
    if (piece.length < length) throw new LostChunks('it is cut', packId);
    yield piece;
  }
}

/** Looks up the chunks of an index that is in memory. */
export function locatorOf(catalog: Pick<ChunkCatalog, 'locate'>, index: ChunkIndex): FrameSource['locate'] {
  return async (from) => {
    const until = Math.min(from + LOOKED_UP, index.length);
    if (from >= until) return [];
    const wanted = Array.from({ length: until - from }, (_, at) => index.entry(from + at));
    const places = new Map((await catalog.locate(Buffer.concat(wanted.map(({ digest }) => digest)))).map((place) => [place.at, place]));
    return wanted.map((entry, at) => placeChunk(from + at, entry, places.get(at)));
  };
}

/** @throws LostChunks where the chunk is not as its entry says */
export function placeChunk(at: number, { digest, frameBytes }: ChunkEntry, place: ChunkPlace | undefined): PlacedChunk {
  if (place?.frameBytes !== frameBytes) throw new LostChunks(`chunk ${at} is not stored, or with another length`);
  return { ...place, digest };
}
