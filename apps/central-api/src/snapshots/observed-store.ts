import { compress } from '@waypost/runtime';
import type { RawChunk, SnapshotStore, TableWriter } from '../chunk-store/snapshot-store.js';
import type { BuildObserver } from './build-observer.js';

/** A longer frame, of a long row, is made once more for the observer, rather than held while the store writes it. */
const LONG_FRAME_BYTES = 3 << 20;

/** Stores tables in another store, and shows them to an observer: each table, and its chunks once they are stored. */
export class ObservedStore implements Pick<SnapshotStore, 'create' | 'findBase'> {
  constructor(
    private readonly store: Pick<SnapshotStore, 'create'>,
    private readonly observer: BuildObserver,
  ) {}

  /** An observer sees whole tables. */
  findBase(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  create(): TableWriter {
    const writer = this.store.create();
    this.observer.table();
    return {
      put: (chunks) => this.put(writer, chunks),
      commit: (table) => writer.commit(table),
      abort: () => writer.abort(),
    };
  }

  private async put(writer: TableWriter, chunks: readonly RawChunk[]): Promise<number[]> {
    if (!this.observer.wantsChunks) return writer.put(chunks);
    const frames: Buffer[] = [];
    // The store gives a frame's memory back as soon as it has written it.
    const keep = (at: number, frame: Buffer): void => {
      if (frame.length <= LONG_FRAME_BYTES) frames[at] = Buffer.from(frame);
    };
    const lengths = await writer.put(chunks, keep);
    for (const [at, { digest, bytes, rowCount }] of chunks.entries()) {
      const frame = frames[at] ?? compress(bytes);
      this.observer.chunk({ digest: Buffer.from(digest), rowCount, rawBytes: bytes.length, frameBytes: frame.length }, frame);
    }
    return lengths;
  }
}
