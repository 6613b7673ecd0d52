import { type ChunkEntry, ChunkIndex, type ManifestTable } from '@waypost/contracts';
import type { Query } from '@waypost/runtime';
import { findIndex } from '../chunk-store/find-index.js';

/** What differs within one table, chunk by chunk. */
export interface ChunkDifference {
  sharedChunks: number;
  removedChunks: number;
  addedChunks: number;
  /** Rows of chunks that only the one has: at least one of each such chunk differs. */
  removedRows: number;
  addedRows: number;
  removedBytes: number;
  addedBytes: number;
}

/**
 * Compares two snapshots of a table by the digests of their chunks.
 * @returns null where central does not know the chunks of both any more
 */
export async function compareChunks(query: Query, before: ManifestTable, after: ManifestTable): Promise<ChunkDifference | null> {
  const [old, young] = [await findIndex(query, before), await findIndex(query, after)];
  if (!old || !young) return null;
  const [from, to] = [ChunkIndex.decode(old), ChunkIndex.decode(young)];
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
