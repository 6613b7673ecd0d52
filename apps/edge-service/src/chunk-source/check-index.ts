import { ChunkIndex, HEADER_BYTES, type ManifestTable, WaypostError } from '@waypost/contracts';

/** What the manifest says of a table's stream. */
export type StreamExpectation = Pick<ManifestTable, 'name' | 'rowCount' | 'sha256' | 'format' | 'rawBytes' | 'streamBytes'>;

/**
 * How long header and index are together, before memory is taken for them.
 * @throws WaypostError CHUNK_CORRUPT when they cannot be what the manifest says
 */
export function checkHeader(header: Buffer, expected: StreamExpectation): number {
  const indexBytes = ChunkIndex.encodedBytes(header);
  if (indexBytes > expected.streamBytes) throw corrupt(expected, 'its header announces more chunks than the stream can hold');
  return indexBytes;
}

/**
 * Reads header and index. From here on each chunk's digest is covered by the manifest's hash.
 * @throws WaypostError CHUNK_CORRUPT when they are not what the manifest says
 */
export function checkIndex(bytes: Buffer, expected: StreamExpectation): ChunkIndex {
  const index = ChunkIndex.decode(bytes);
  const totals = index.totals();
  if (index.format !== expected.format) throw corrupt(expected, `it is in ${index.format}, the manifest says ${expected.format}`);
  if (totals.sha256 !== expected.sha256) throw corrupt(expected, 'its chunks are not those that the manifest names');
  if (totals.rowCount !== expected.rowCount || totals.rawBytes !== expected.rawBytes)
    throw corrupt(expected, 'its row counts or lengths differ');
  if (bytes.length + totals.frameBytes !== expected.streamBytes)
    throw corrupt(expected, 'its frames are longer or shorter than the manifest says');
  return index;
}

/** @throws WaypostError MANIFEST_INVALID when no stream can be so short */
export function checkExpectation(expected: StreamExpectation): void {
  if (expected.streamBytes >= HEADER_BYTES) return;
  throw new WaypostError('MANIFEST_INVALID', {
    detail: `The manifest says that the stream of ${expected.name} has ${expected.streamBytes} bytes.`,
  });
}

export function corrupt({ name }: Pick<ManifestTable, 'name'>, why: string): WaypostError {
  return new WaypostError('CHUNK_CORRUPT', { detail: `The chunk stream of ${name} is damaged: ${why}.` });
}
