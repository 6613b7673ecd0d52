import { WaypostError } from '@waypost/contracts';
import type { ChunkSource } from './chunk-source.js';
import type { GrowingChunks } from './growing-chunks.js';
import type { SpooledFrame } from './read-frames.js';

/** How long, in all, the loading transaction waits for the network. After that the load starts again when the download is complete. */
const MAX_WAIT_MS = 10_000;

/** Reads chunk streams while they arrive. All tables of a download share one time limit. */
export class TailReader {
  /** The wait was too long, or the stream started over: the load must start again, the download goes on. */
  timedOut = false;

  /** @param arrival rejects when the download fails */
  constructor(
    private readonly arrival: Promise<void>,
    private leftMs = MAX_WAIT_MS,
  ) {
    arrival.catch(() => undefined); // reported by `wait`
  }

  read(chunks: GrowingChunks): ChunkSource {
    return new TailedTable(chunks, this);
  }

  /** Waits for `event` within the time limit. @throws WaypostError the download's error, or TRANSFER_STALLED */
  async wait(event: Promise<void>): Promise<void> {
    const startedAt = performance.now();
    const timeout = Promise.withResolvers<never>();
    const timer = setTimeout(() => timeout.reject(this.timeOut('The link is slower than the load.')), Math.max(0, this.leftMs));
    try {
      // The download's end is no event: the last growth came before it. Only its failure is.
      await Promise.race([event, timeout.promise, this.arrival.then(() => event)]);
    } finally {
      clearTimeout(timer);
      this.leftMs -= performance.now() - startedAt;
    }
  }

  /** @returns the error to throw */
  timeOut(detail: string): WaypostError {
    this.timedOut = true;
    return new WaypostError('TRANSFER_STALLED', { detail });
  }
}

/** A table's chunk stream that is read while it arrives. */
class TailedTable implements ChunkSource {
  constructor(
    private readonly chunks: GrowingChunks,
    private readonly reader: TailReader,
  ) {}

  get expected(): ChunkSource['expected'] {
    return this.chunks.expected;
  }

  get complete(): boolean {
    return this.chunks.complete;
  }

  async *frames(): AsyncGenerator<SpooledFrame, void> {
    const { chunks, reader } = this;
    let next = 0;
    let { restarts } = chunks;
    const hasRestarted = (): boolean => next > 0 && chunks.restarts !== restarts;
    for (;;) {
      const { grown, chunkCount } = chunks;
      if (hasRestarted()) throw reader.timeOut('The stream started over.');
      if (chunks.truncated) throw reader.timeOut('Central sends no more of it.');
      ({ restarts } = chunks);
      if (chunkCount > next) {
        try {
          yield* chunks.frames(next);
        } catch (error) {
          throw hasRestarted() ? reader.timeOut('The stream started over.') : error;
        }
        next = chunkCount;
      } else if (chunks.complete) {
        return;
      } else {
        await reader.wait(grown);
      }
    }
  }
}
