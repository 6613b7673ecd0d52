import { diskSpaceOf } from '@waypost/runtime';
import { FileBlobStore } from '../chunk-store/blobs/file-blob-store.js';
import type { StoreFacts } from './assess-fleet.js';

/** Looks through the snapshot store, as far as it is to be seen from here. @throws WaypostError STORAGE_FAILED */
export async function measureStore(folder: string): Promise<StoreFacts> {
  const blobs = await new FileBlobStore(folder).list();
  const space = await diskSpaceOf(folder).catch(() => undefined);
  const bytes = blobs.reduce((sum, blob) => sum + blob.bytes, 0);
  return { folder, bytes, freeBytes: space?.freeBytes ?? null, sizeBytes: space?.sizeBytes ?? null };
}
