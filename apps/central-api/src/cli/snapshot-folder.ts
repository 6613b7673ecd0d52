import { WaypostError } from '@waypost/contracts';
import { snapshotStore } from '../config.js';

/** The folder that SNAPSHOT_STORE names. @throws WaypostError CONFIG_INVALID */
export function folderOf(store: string): string {
  const parsed = snapshotStore.safeParse(store);
  if (parsed.success) return parsed.data.folder;
  throw new WaypostError('CONFIG_INVALID', { detail: `SNAPSHOT_STORE ${parsed.error.issues[0]?.message}.` });
}
