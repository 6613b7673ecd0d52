import { crc32 } from 'node:zlib';
import type { ChunkIndex } from '@waypost/contracts';
import type { BlobReader, BlobStore } from './blob-store.js';
import type { ChunkCatalog, ChunkPlace } from './chunk-catalog.js';
import { packName } from './pack-writer.js';
import { bytesOf, runsOf } from './runs.js';

/** Places that are looked up at once: some 10 MB of frames. */
const LOOKED_UP = 512;
/** What is read at once, unless one frame is longer; a receiver that takes nothing holds this in memory, twice. */
const READ_BYTES = 64 << 10;
/** A longer frame, one of a long row, is never in memory as a whole. */
const LONG_FRAME_BYTES = 2 << 20;

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

interface Source {
  blobs: Pick<BlobStore, 'open'>;
  catalog: Pick<ChunkCatalog, 'locate'>;
}

/**
 * The frames of an index, from a byte position on. Frames that lie side by side in a pack are read together; each is compared with its checksum
 * before it is given. Memory holds what is read at once, and the places of 512 frames. One pack is open at a time.
 * @throws LostChunks
 */
export async function* readFrames({ blobs, catalog }: Source, index: ChunkIndex, start: number): AsyncGenerator<Buffer> {
  let { at, skip } = entryAt(index, start);
  let open: { packId: string; reader: BlobReader } | undefined;
  /** Where a pack was found to be gone: its chunks may have moved to another, once. */
  let goneAt = -1;
  try {
    while (at < index.length) {
      for (const run of runsOf(await locate(catalog, index, at), READ_BYTES)) {
        const { packId } = run[0] as ChunkPlace;
        if (open?.packId !== packId) {
          await open?.reader.close();
          open = undefined;
          const reader = await blobs.open(packName(packId));
          if (!reader && goneAt === at) throw new LostChunks('it is gone', packId);
          if (!reader) {
            goneAt = at;
            break;
          }
          open = { packId, reader };
        }
        if (bytesOf(run) > LONG_FRAME_BYTES) {
          yield* readLongFrame(open.reader, run[0] as ChunkPlace, index.entry(at).digest, skip);
        } else {
          const frames = await readRun(open.reader, run, (place) => index.entry(at + place).digest);
          yield skip === 0 ? frames : frames.subarray(skip);
        }
        at += run.length;
        skip = 0;
      }
    }
  } finally {
    await open?.reader.close();
  }
}

/**
 * Whole frames, side by side.
 * @param digestOf of the chunk at a place of the run
 * @throws LostChunks
 */
export async function readRun(reader: BlobReader, run: readonly ChunkPlace[], digestOf: (place: number) => Buffer): Promise<Buffer> {
  const { packId, start } = run[0] as ChunkPlace;
  const length = bytesOf(run);
  const bytes = await reader.read(start, length);
  if (bytes.length < length) throw new LostChunks('it is cut', packId);
  for (const [place, frame] of run.entries()) {
    const from = frame.start - start;
    if (crc32(bytes.subarray(from, from + frame.frameBytes)) !== frame.crc32) {
      throw new LostChunks('a frame in it is damaged', packId, digestOf(place));
    }
  }
  return bytes;
}

/** Reads it twice: to compare it with its checksum, then to give it, in pieces. @throws LostChunks */
async function* readLongFrame(reader: BlobReader, place: ChunkPlace, digest: Buffer, skip: number): AsyncGenerator<Buffer> {
  let checksum = 0;
  for await (const piece of readPieces(reader, place, 0)) checksum = crc32(piece, checksum);
  if (checksum !== place.crc32) throw new LostChunks('a frame in it is damaged', place.packId, digest);
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

/** The entry that the frame at a byte position belongs to. */
function entryAt(index: ChunkIndex, start: number): { at: number; skip: number } {
  let skip = start;
  for (let at = 0; at < index.length; at += 1) {
    const { frameBytes } = index.entry(at);
    if (skip < frameBytes) return { at, skip };
    skip -= frameBytes;
  }
  return { at: index.length, skip: 0 };
}

async function locate(catalog: Source['catalog'], index: ChunkIndex, from: number): Promise<ChunkPlace[]> {
  const until = Math.min(from + LOOKED_UP, index.length);
  const wanted = Array.from({ length: until - from }, (_, at) => index.entry(from + at));
  const places = await catalog.locate(Buffer.concat(wanted.map(({ digest }) => digest)));
  const wrong = wanted.findIndex(({ frameBytes }, at) => places[at]?.at !== at || places[at].frameBytes !== frameBytes);
  if (wrong >= 0) throw new LostChunks(`chunk ${from + wrong} is not stored, or with another length`);
  return places;
}
