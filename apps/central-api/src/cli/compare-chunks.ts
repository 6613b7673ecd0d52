import type { ManifestTable } from '@waypost/contracts';
import { type ChunkEntry, ChunkIndex } from '@waypost/contracts';
import { FileSnapshotStore } from '../snapshots/file-snapshot-store.js';
import type { ChunkDifference } from './diff.js';
import { folderOf } from './snapshot-folder.js';

/**
 * Compares two snapshots of a table by the digests of their chunks.
 * @param store as SNAPSHOT_STORE has it
 * @returns null where the store does not hold both
 * @throws WaypostError CONFIG_INVALID, STORAGE_FAILED
 */
export async function compareChunks(store: string, before: ManifestTable, after: ManifestTable): Promise<ChunkDifference | null> {
  const snapshots = new FileSnapshotStore(folderOf(store));
  const [old, young] = [await snapshots.find(before), await snapshots.find(after)];
  if (!old || !young) return null;
  const [from, to] = [ChunkIndex.decode(old.index), ChunkIndex.decode(young.index)];
  const removed = without(from, to);
  const added = without(to, from);
  return {
    sharedChunks: to.length - added.length,
    removedChunks: removed.length,
    addedChunks: added.length,
    removedRows: sum(removed, ({ rowCount }) => rowCount),
    addedRows: sum(added, ({ rowCount }) => rowCount),
    removedBytes: sum(removed, ({ rawBytes }) => rawBytes),
    addedBytes: sum(added, ({ rawBytes }) => rawBytes),
  };
}

/** The chunks of one that the other does not have. */
function without(chunks: ChunkIndex, others: ChunkIndex): ChunkEntry[] {
  const known = new Set([...others].map(({ digest }) => digest.toString('latin1')));
  return [...chunks].filter(({ digest }) => !known.has(digest.toString('latin1')));
}

function sum(chunks: readonly ChunkEntry[], value: (chunk: ChunkEntry) => number): number {
  return chunks.reduce((total, chunk) => total + value(chunk), 0);
}
