import { BorderKeysBuilder, type ChunkIndex, ChunkIndexBuilder, keyFieldsOf } from '@waypost/contracts';
import { describeSpan, readChunks, type RowLayout } from '@waypost/runtime';
import type pg from 'pg';
import type { SnapshotStore } from '../chunk-store/snapshot-store.js';
import { ChunkBatcher } from './chunk-batcher.js';
import { totalsOf } from '../chunk-store/totals.js';

interface TableRead {
  query: string;
  layout: RowLayout;
  store: Pick<SnapshotStore, 'create'>;
  signal: AbortSignal | undefined;
}

/**
 * Rows → chunks → digests → store. While a batch of chunks is looked up, compressed and written, the next one is read; then PostgreSQL
 * waits.
 */
export async function storeTable(client: pg.ClientBase, { query, layout, store, signal }: TableRead): Promise<ChunkIndex> {
  const writer = store.create();
  const batcher = new ChunkBatcher(writer);
  const index = new ChunkIndexBuilder(layout.format);
  const borders = new BorderKeysBuilder(keyFieldsOf(layout));
  try {
    await readChunks(client, {
      query,
      layout,
      signal,
      onChunk: (bytes, rowCount, lastKey) => {
        borders.add(lastKey());
        batcher.add(bytes, rowCount, (entry) => index.add(entry));
      },
      afterInput: () => batcher.flushIfFull(),
    });
    await batcher.finish();
    const stored = await writer.commit({ index: index.build(), borders: borders.build() });
    const { rowCount, rawBytes, frameBytes } = totalsOf(stored);
    describeSpan({ 'waypost.rows': rowCount, 'waypost.raw_bytes': rawBytes, 'waypost.stream_bytes': frameBytes });
    return stored;
  } finally {
    await batcher.settle();
    await writer.abort();
  }
}
