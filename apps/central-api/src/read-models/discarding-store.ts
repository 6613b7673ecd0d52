import { compress } from '@waypost/runtime';
import type { SnapshotStore } from '../chunk-store/snapshot-store.js';

/** Takes tables and keeps nothing: for building a share only to measure it. */
export const discardingStore: Pick<SnapshotStore, 'create' | 'findBase'> = {
  findBase: async () => undefined,
  create: () => ({
    put: async (chunks) => chunks.map(({ bytes }) => compress(bytes).length),
    commit: async ({ index }) => index,
    abort: async () => undefined,
  }),
};
