import { WaypostError } from '@waypost/contracts';
import type { FrameSource } from '../load/copy-data.js';
import type { SpooledFrame } from './read-frames.js';

/** How long, in all, the loading transaction waits for the network before it gives way to an ordinary download. */
const PATIENCE_MS = 10_000;

/** A chunk stream on disk that may still grow. */
export interface GrowingTable extends FrameSource {
  /** Chunks on disk, from the first. */
  chunkCount: number;
  /** Settles when more has come, or something else has changed. */
  grown: Promise<void>;
  /** How often it was begun anew. */
  restarts: number;
  /** The rest will never come. */
  isCut?: boolean;
  /** Those that are on disk now, from the `first` on. */
  frames(first?: number): AsyncGenerator<SpooledFrame, void>;
}

/** One patience for all tables of a download, and whether it has come to its end. */
export class Following {
  /** The link is slower than the load, or the stream was begun anew: what was loaded is of no use, the download is. */
  gaveUp = false;

  /** @param arrival rejects when the download fails */
  constructor(
    private readonly arrival: Promise<void>,
    private leftMs = PATIENCE_MS,
  ) {
    arrival.catch(() => undefined); // whoever waits hears of it; perhaps nobody does
  }

  table(spooled: GrowingTable): FrameSource {
    return new FollowedTable(spooled, this);
  }

  /** Waits for `event`, as long as the patience lasts. @throws WaypostError what the download failed with, or TRANSFER_STALLED */
  async wait(event: Promise<void>): Promise<void> {
    const startedAt = performance.now();
    const timeout = Promise.withResolvers<never>();
    const timer = setTimeout(() => timeout.reject(this.giveUp('The link is slower than the load.')), Math.max(0, this.leftMs));
    try {
      // The download's end is no event: the last growth came before it. Only its failure is.
      await Promise.race([event, timeout.promise, this.arrival.then(() => event)]);
    } finally {
      clearTimeout(timer);
      this.leftMs -= performance.now() - startedAt;
    }
  }

  giveUp(detail: string): WaypostError {
    this.gaveUp = true;
    return new WaypostError('TRANSFER_STALLED', { detail });
  }
}

/** A chunk stream that is read while it arrives. */
class FollowedTable implements FrameSource {
  constructor(
    private readonly spooled: GrowingTable,
    private readonly following: Following,
  ) {}

  get promise(): FrameSource['promise'] {
    return this.spooled.promise;
  }

  get complete(): boolean {
    return this.spooled.complete;
  }

  async *frames(): AsyncGenerator<SpooledFrame, void> {
    const { spooled, following } = this;
    let next = 0;
    let { restarts } = spooled;
    const isAnother = (): boolean => next > 0 && spooled.restarts !== restarts;
    for (;;) {
      const { grown, chunkCount } = spooled;
      if (isAnother()) throw following.giveUp('The stream was begun anew.');
      if (spooled.isCut) throw following.giveUp('Central sends no more of it.');
      ({ restarts } = spooled);
      if (chunkCount > next) {
        try {
          yield* spooled.frames(next);
        } catch (error) {
          throw isAnother() ? following.giveUp('The stream was begun anew.') : error;
        }
        next = chunkCount;
      } else if (spooled.complete) {
        return;
      } else {
        await following.wait(grown);
      }
    }
  }
}
