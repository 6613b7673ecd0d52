import type { ChunkEntry, Preamble } from '@waypost/contracts';

/** Sees a snapshot while it is built. Whatever it does, it does not hold the build up. */
export interface BuildObserver {
  /** What the tables will be. Called at most once, before anything else, and only where all of them are read now. */
  begin(preamble: Preamble): void;
  /** The preamble's next table is being read. */
  table(): void;
  /** The table's next chunk, in key order, once it is stored; the frame's memory is the observer's. */
  chunk(entry: ChunkEntry, frame: Buffer): void;
  /** Chunks are of use to it. */
  readonly wantsChunks: boolean;
}
