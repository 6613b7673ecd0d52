import { type RowFormat, WaypostError } from '@waypost/contracts';
import { faultPoint } from '@waypost/runtime';
import type { StreamPromise } from '../chunk-source/check-index.js';
import { openChunk } from '../chunk-source/open-chunk.js';
import type { SpooledFrame } from '../chunk-source/read-frames.js';

const BINARY_HEADER = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
const BINARY_TRAILER = Buffer.from([0xff, 0xff]);

/** A table's chunk stream on disk, complete or still arriving. */
export interface FrameSource {
  promise: Pick<StreamPromise, 'name'>;
  frames(): AsyncIterable<SpooledFrame>;
  /** That `frames` has given all of them, once it has ended. */
  complete: boolean;
}

/**
 * A spooled table as COPY FROM STDIN takes it. Each chunk's digest is checked once more: the disk is not trusted either.
 * @throws WaypostError CHUNK_CORRUPT
 */
export async function* copyDataOf(source: FrameSource, format: RowFormat): AsyncGenerator<Buffer, void> {
  if (format === 'binary') yield Buffer.from(BINARY_HEADER);
  for await (const { entry, frame } of source.frames()) {
    await faultPoint('edge.mid-copy');
    yield openChunk(frame, entry);
  }
  if (!source.complete) throw new WaypostError('CHUNK_CORRUPT', { detail: `The chunk stream of ${source.promise.name} is not complete.` });
  if (format === 'binary') yield Buffer.from(BINARY_TRAILER);
}
