import type { ChunkIndex } from '@waypost/contracts';
import type { StreamExpectation } from './check-index.js';
import type { ChunkSource } from './chunk-source.js';
import { type FrameMemory, readFrames, type SpooledFrame } from './read-frames.js';

/** Where a table's frames lie in a file, one after another. */
export interface FrameLocation {
  index: Pick<ChunkIndex, 'entry'>;
  /** Position of the first frame. */
  start: number;
}

/** A table's chunks in a file that grows while they arrive. One reader at a time. */
export abstract class GrowingChunks implements ChunkSource {
  /** Chunks on disk, from the first. */
  chunkCount = 0;
  /** How often the stream started over: what was read before a restart says nothing about the bytes that follow. */
  restarts = 0;
  private growth = Promise.withResolvers<void>();
  private readonly memory: FrameMemory = [Buffer.alloc(0), Buffer.alloc(0)];

  abstract readonly expected: Pick<StreamExpectation, 'name'>;
  abstract readonly complete: boolean;

  /** The rest will not arrive. */
  get truncated(): boolean {
    return false;
  }

  /** Settles when the index or more chunks have arrived, when the stream ends, and when it starts over. */
  get grown(): Promise<void> {
    return this.growth.promise;
  }

  /**
   * The frames that are on disk now, from chunk `first` on. The next ones are read while the caller works on these.
   * A frame is valid until the next one is asked for: its memory is reused.
   * @throws WaypostError STORAGE_FAILED; CHUNK_CORRUPT when the file is shorter than what was written to it
   */
  frames(first = 0): AsyncGenerator<SpooledFrame, void> {
    return this.framesBetween(first, this.chunkCount);
  }

  /** The frames of the chunks [from, count). */
  protected async *framesBetween(from: number, count: number): AsyncGenerator<SpooledFrame, void> {
    const location = this.location();
    if (!location) return;
    const readInto = (bytes: Buffer, position: number): Promise<Buffer> => this.readInto(bytes, position);
    yield* readFrames({ ...location, from, count, memory: this.memory, readInto });
  }

  protected notify(): void {
    this.growth.resolve();
    this.growth = Promise.withResolvers();
  }

  /** Undefined before the index has arrived. */
  protected abstract location(): FrameLocation | undefined;

  /** Fills `bytes` from this position of the file. */
  protected abstract readInto(bytes: Buffer, position: number): Promise<Buffer>;
}
