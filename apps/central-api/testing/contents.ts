import { BorderKeysBuilder, ChunkIndexBuilder, sha256 } from '@waypost/contracts';
import type { RawChunk, SnapshotId, SnapshotStore } from '../src/chunk-store/snapshot-store.js';

/** A table of some chunks, one for each number; equal numbers give equal chunks. They hardly compress. */
export function contentOf(parts: readonly number[]): RawChunk[] {
  return parts.map((part) => {
    const bytes = Buffer.concat(Array.from({ length: 40 + part }, (_, at) => sha256(Buffer.from(`${part}/${at}`))));
    return { digest: sha256(bytes), bytes, rowCount: 1 };
  });
}

/** Stores a table as a build does. */
export async function storeContent(store: SnapshotStore, chunks: readonly RawChunk[]): Promise<SnapshotId> {
  const writer = store.create();
  try {
    const index = new ChunkIndexBuilder('binary');
    const borders = new BorderKeysBuilder([]);
    const half = Math.ceil(chunks.length / 2);
    for (const some of [chunks.slice(0, half), chunks.slice(half)]) {
      const lengths = await writer.put(some);
      for (const [at, { digest, bytes, rowCount }] of some.entries()) {
        index.add({ digest, rowCount, rawBytes: bytes.length, frameBytes: lengths[at] as number });
        borders.add(Buffer.alloc(0));
      }
    }
    const stored = await writer.commit({ index: index.build(), borders: borders.build() });
    return { sha256: stored.totals().sha256, format: stored.format };
  } finally {
    await writer.abort();
  }
}
