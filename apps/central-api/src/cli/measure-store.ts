import { diskSpaceOf } from '@waypost/runtime';
import { FileSnapshotStore } from '../snapshots/file-snapshot-store.js';
import type { StoreFacts } from './judge-fleet.js';
import { folderOf } from './snapshot-folder.js';

/** Looks through the snapshot store, as far as it is to be seen from here. @throws WaypostError CONFIG_INVALID, STORAGE_FAILED */
export async function measureStore(store: string): Promise<StoreFacts> {
  const folder = folderOf(store);
  const snapshots = new FileSnapshotStore(folder);
  await snapshots.measure();
  const space = await diskSpaceOf(folder).catch(() => undefined);
  return { folder, bytes: snapshots.bytes ?? 0, freeBytes: space?.freeBytes ?? null, sizeBytes: space?.sizeBytes ?? null };
}
