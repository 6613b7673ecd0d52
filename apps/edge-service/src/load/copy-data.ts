import { type RowFormat, WaypostError } from '@waypost/contracts';
import { faultPoint } from '@waypost/runtime';
import type { ChunkSource } from '../chunk-source/chunk-source.js';
import { openChunk } from '../chunk-source/open-chunk.js';

const BINARY_HEADER = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
const BINARY_TRAILER = Buffer.from([0xff, 0xff]);

/**
 * A chunk stream as COPY FROM STDIN takes it. Each chunk is checked against its digest again: the disk may have altered it.
 * @throws WaypostError CHUNK_CORRUPT
 */
export async function* copyDataOf(source: ChunkSource, format: RowFormat): AsyncGenerator<Buffer, void> {
  if (format === 'binary') yield Buffer.from(BINARY_HEADER);
  for await (const { entry, frame } of source.frames()) {
    await faultPoint('edge.mid-copy');
    yield openChunk(frame, entry);
  }
  if (!source.complete) throw new WaypostError('CHUNK_CORRUPT', { detail: `The chunk stream of ${source.expected.name} is not complete.` });
  if (format === 'binary') yield Buffer.from(BINARY_TRAILER);
}

/** Rows in binary form as COPY FROM STDIN takes them. */
export async function* rowsAsCopyData(rows: readonly Buffer[]): AsyncGenerator<Buffer, void> {
  yield await Promise.resolve(Buffer.concat([BINARY_HEADER, ...rows, BINARY_TRAILER]));
}
