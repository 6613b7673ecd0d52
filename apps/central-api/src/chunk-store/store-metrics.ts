import { Inject, Injectable } from '@nestjs/common';
import type { DiskSpace } from '@waypost/runtime';
import { SyncMetrics } from '../metrics/sync-metrics.js';
import { SNAPSHOT_STORE, type SnapshotStore } from './snapshot-store.js';

/** How full the store and its disk are. */
@Injectable()
export class StoreMetrics {
  constructor(@Inject(SNAPSHOT_STORE) store: SnapshotStore, metrics: SyncMetrics) {
    const space = (fact: keyof DiskSpace) => async (): Promise<number> => (await store.space.get())?.[fact] ?? NaN;
    const about = 'Snapshot store: bytes of snapshots, as measured once an hour plus what this process has stored since; NaN at first.';
    metrics.gauge('waypost_central_store_bytes', about, () => store.bytes ?? NaN);
    metrics.gauge(
      'waypost_central_store_free_bytes',
      'Free space of the snapshot store’s file system; NaN if unknown.',
      space('freeBytes'),
    );
    metrics.gauge('waypost_central_store_size_bytes', 'Size of the snapshot store’s file system; NaN if unknown.', space('sizeBytes'));
  }
}
