import { HEADER_BYTES, INDEX_ENTRY_BYTES, WaypostError } from '@waypost/contracts';
import type { ChunkCatalog, ContentIndex } from './chunk-catalog.js';
import { placeChunk, type FrameSource, readFrames } from './read-frames.js';
import type { SnapshotId, StreamSize } from './snapshot-store.js';

/** Of the index that is read at once. */
const INDEX_BYTES = 32 << 10;
/** Places that are looked up at first, and at most: twice as many each time, so that it stays in proportion to what was taken. */
const PLACES = { first: 16, most: 512 };

type Catalog = Pick<ChunkCatalog, 'readIndexPart' | 'findChunk' | 'locatePart'>;

interface StreamPart {
  id: SnapshotId;
  size: StreamSize;
  /** Position of the first byte. */
  start: number;
}

/**
 * A chunk stream from a byte on. Index and places are read part by part, as they are needed.
 * @throws LostChunks; WaypostError SNAPSHOT_MISSING where the content is removed or replaced meanwhile
 */
export async function* readStream(
  catalog: Catalog,
  openPack: FrameSource['openPack'],
  { id, size, start }: StreamPart,
): AsyncGenerator<Buffer> {
  const content = { sha256: id.sha256, format: id.format, indexSha256: size.indexSha256 };
  for (let at = start; at < size.indexBytes;) {
    const part = existing(content, await catalog.readIndexPart(content, at, INDEX_BYTES));
    yield part;
    at += part.length;
  }
  const position = Math.max(0, start - size.indexBytes);
  const from = position > 0 ? existing(content, await catalog.findChunk(content, position)) : { at: 0, skip: 0 };
  const chunks = (size.indexBytes - HEADER_BYTES) / INDEX_ENTRY_BYTES;
  yield* readFrames({ openPack, locate: locatorIn(catalog, content, chunks) }, from);
}

function locatorIn(catalog: Catalog, content: ContentIndex, chunks: number): FrameSource['locate'] {
  let count = PLACES.first;
  return async (from) => {
    if (from >= chunks) return [];
    const located = await catalog.locatePart(content, from, Math.min(count, chunks - from));
    existing(content, located[0]);
    count = Math.min(count * 2, PLACES.most);
    return located.map(({ entry, place }, at) => placeChunk(from + at, entry, place));
  };
}

function existing<T>({ sha256 }: ContentIndex, found: T | undefined): T {
  if (found === undefined)
    throw new WaypostError('SNAPSHOT_MISSING', { detail: `The snapshot ${sha256} was removed or replaced meanwhile.` });
  return found;
}
