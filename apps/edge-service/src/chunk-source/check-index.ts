import { ChunkIndex, HEADER_BYTES, type ManifestTable, WaypostError } from '@waypost/contracts';

/** What the manifest says of a table's stream. */
export type StreamPromise = Pick<ManifestTable, 'name' | 'rowCount' | 'sha256' | 'format' | 'rawBytes' | 'streamBytes'>;

/**
 * How long header and index are together, before memory is taken for them.
 * @throws WaypostError CHUNK_CORRUPT when they cannot be what the manifest promises
 */
export function checkHeader(header: Buffer, promise: StreamPromise): number {
  const indexBytes = ChunkIndex.encodedBytes(header);
  if (indexBytes > promise.streamBytes) throw corrupt(promise, 'its header announces more chunks than the stream can hold');
  return indexBytes;
}

/**
 * Reads header and index. From here on the manifest's hash vouches for each chunk's digest.
 * @throws WaypostError CHUNK_CORRUPT when they are not what the manifest promises
 */
export function checkIndex(bytes: Buffer, promise: StreamPromise): ChunkIndex {
  const index = ChunkIndex.decode(bytes);
  const totals = index.totals();
  if (index.format !== promise.format) throw corrupt(promise, `it is in ${index.format}, the manifest says ${promise.format}`);
  if (totals.sha256 !== promise.sha256) throw corrupt(promise, 'its chunks are not those that the manifest names');
  if (totals.rowCount !== promise.rowCount || totals.rawBytes !== promise.rawBytes)
    throw corrupt(promise, 'its row counts or lengths differ');
  if (bytes.length + totals.frameBytes !== promise.streamBytes) throw corrupt(promise, 'its frames are longer or shorter than promised');
  return index;
}

/** @throws WaypostError MANIFEST_INVALID when no stream can be so short */
export function checkPromise(promise: StreamPromise): void {
  if (promise.streamBytes >= HEADER_BYTES) return;
  throw new WaypostError('MANIFEST_INVALID', {
    detail: `The manifest says that the stream of ${promise.name} has ${promise.streamBytes} bytes.`,
  });
}

export function corrupt({ name }: Pick<ManifestTable, 'name'>, why: string): WaypostError {
  return new WaypostError('CHUNK_CORRUPT', { detail: `The chunk stream of ${name} is damaged: ${why}.` });
}
