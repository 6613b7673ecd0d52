import type { StreamExpectation } from './check-index.js';
import type { SpooledFrame } from './read-frames.js';

/** A table's chunk stream as a load reads it: complete on disk, or still arriving. */
export interface ChunkSource {
  readonly expected: Pick<StreamExpectation, 'name'>;
  /** In order, from the first. A frame is valid until the next one is asked for. */
  frames(): AsyncIterable<SpooledFrame>;
  /** Whether `frames`, once it has ended, gave all of them. */
  readonly complete: boolean;
}
