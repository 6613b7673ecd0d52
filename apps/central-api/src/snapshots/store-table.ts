import { type ChunkIndex, ChunkIndexBuilder, sha256 } from '@waypost/contracts';
import { compress, describeSpan, faultPoint, readChunks, releaseMemory, type RowLayout, ZSTD_SLACK_BYTES } from '@waypost/runtime';
import type pg from 'pg';
import type { SnapshotStore } from './snapshot-store.js';

/** Frames are written in pieces of at least this size. */
const WRITE_BYTES = 256 << 10;

interface TableRead {
  query: string;
  layout: RowLayout;
  store: Pick<SnapshotStore, 'create'>;
  signal: AbortSignal | undefined;
}

/** Rows → chunks → digests and zstd frames → store. What was compressed is written before more is read: PostgreSQL waits for the disk. */
export async function storeTable(client: pg.ClientBase, { query, layout, store, signal }: TableRead): Promise<ChunkIndex> {
  const index = new ChunkIndexBuilder(layout.format);
  const writer = await store.create();
  let frames: Buffer[] = [];
  let pendingBytes = 0;
  const flush = async (): Promise<void> => {
    await faultPoint('central.mid-build');
    await writer.append(frames);
    for (const frame of frames) releaseMemory(frame, ZSTD_SLACK_BYTES);
    frames = [];
    pendingBytes = 0;
  };
  try {
    await readChunks(client, {
      query,
      layout,
      signal,
      onChunk: (bytes, rowCount) => {
        const frame = compress(bytes);
        index.add({ digest: sha256(bytes), rowCount, rawBytes: bytes.length, frameBytes: frame.length });
        frames.push(frame);
        pendingBytes += frame.length;
      },
      afterInput: () => (pendingBytes >= WRITE_BYTES ? flush() : undefined),
    });
    await flush();
    const built = index.build();
    await writer.commit(built);
    const { rowCount, rawBytes, frameBytes } = built.totals();
    describeSpan({ 'waypost.rows': rowCount, 'waypost.raw_bytes': rawBytes, 'waypost.stream_bytes': frameBytes });
    return built;
  } finally {
    await writer.abort();
  }
}
