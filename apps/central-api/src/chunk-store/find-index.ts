import type { Query } from '@waypost/runtime';
import { READ_INDEX } from './chunk-catalog.sql.js';
import type { SnapshotId } from './snapshot-store.js';

/** The chunk index of a content, encoded; undefined where the store does not have it. */
export async function findIndex(query: Query, { sha256, format }: SnapshotId): Promise<Buffer | undefined> {
  const [content] = await query<{ index: Buffer }>(READ_INDEX, [sha256, format]);
  return content?.index;
}
