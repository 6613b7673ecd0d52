import { type RowFormat, WaypostError } from '@waypost/contracts';
import { faultPoint } from '@waypost/runtime';
import { openChunk } from '../download/open-chunk.js';
import type { SpooledTable } from '../download/spooled-table.js';

const BINARY_HEADER = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
const BINARY_TRAILER = Buffer.from([0xff, 0xff]);

/**
 * A spooled table as COPY FROM STDIN takes it. Each chunk's digest is checked once more: the disk is not trusted either.
 * @throws WaypostError CHUNK_CORRUPT
 */
export async function* copyDataOf(spooled: SpooledTable, format: RowFormat): AsyncGenerator<Buffer, void> {
  if (!spooled.complete)
    throw new WaypostError('CHUNK_CORRUPT', { detail: `The chunk stream of ${spooled.promise.name} is not complete.` });
  if (format === 'binary') yield Buffer.from(BINARY_HEADER);
  for await (const { entry, frame } of spooled.frames()) {
    await faultPoint('edge.mid-copy');
    yield openChunk(frame, entry);
  }
  if (format === 'binary') yield Buffer.from(BINARY_TRAILER);
}
