import type { ChunkIndex } from '@waypost/contracts';
import type { SnapshotStore } from '../snapshots/snapshot-store.js';

/** Takes snapshots and keeps nothing: for building a share only to measure it. */
export const discardingStore: Pick<SnapshotStore, 'create'> = {
  create: async () => ({
    append: async () => undefined,
    commit: async (index: ChunkIndex) => ({ sha256: index.totals().sha256, format: index.format }),
    abort: async () => undefined,
  }),
};
