import { type ChunkIndex, ChunkIndexBuilder, sha256 } from '@waypost/contracts';
import { describeSpan, readChunks, releaseMemory, type RowLayout } from '@waypost/runtime';
import type pg from 'pg';
import type { RawChunk, SnapshotStore, TableWriter } from '../chunk-store/snapshot-store.js';

/** Chunks that are looked up and stored together: as many bytes as this, or as many chunks. Two batches are in memory, no more. */
const BATCH_BYTES = 3 << 20;
const BATCH_CHUNKS = 512;
/** A batch with less room takes no more: hardly any chunk needs more. */
const HEADROOM_BYTES = 512 << 10;

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
  const batcher = new ChunkBatcher(writer, new ChunkIndexBuilder(layout.format));
  try {
    await readChunks(client, {
      query,
      layout,
      signal,
      onChunk: (bytes, rowCount) => batcher.add(bytes, rowCount),
      afterInput: () => batcher.flushIfFull(),
    });
    const stored = await writer.commit(await batcher.finish());
    const { rowCount, rawBytes, frameBytes } = stored.totals();
    describeSpan({ 'waypost.rows': rowCount, 'waypost.raw_bytes': rawBytes, 'waypost.stream_bytes': frameBytes });
    return stored;
  } finally {
    await batcher.settle();
    await writer.abort();
  }
}

/** One batch is filled while the other is stored. */
class ChunkBatcher {
  private filling = new Batch();
  private freeBatch: Batch | undefined = new Batch();
  private storing: Promise<void> = Promise.resolve();

  constructor(
    private readonly writer: TableWriter,
    private readonly index: ChunkIndexBuilder,
  ) {}

  add(bytes: Buffer, rowCount: number): void {
    this.filling.add(bytes, rowCount);
  }

  /** To be awaited before more is added. */
  flushIfFull(): Promise<void> | undefined {
    return this.filling.isFull ? this.flush() : undefined;
  }

  async finish(): Promise<ChunkIndex> {
    await this.flush();
    await this.storing;
    return this.index.build();
  }

  /** Returns when nothing is being stored, and gives the memory back. */
  async settle(): Promise<void> {
    await this.storing.catch(() => undefined);
    this.filling.release();
    this.freeBatch?.release();
  }

  private async flush(): Promise<void> {
    await this.storing;
    const batch = this.filling;
    this.filling = this.freeBatch ?? new Batch();
    this.freeBatch = undefined;
    const { isLarge } = batch;
    this.storing = this.store(batch);
    this.storing.catch(() => undefined); // its error is thrown where it is awaited
    if (isLarge) await this.storing;
  }

  private async store(batch: Batch): Promise<void> {
    if (batch.chunks.length === 0) return;
    const lengths = await this.writer.put(batch.chunks);
    for (const [at, { digest, bytes, rowCount }] of batch.chunks.entries()) {
      this.index.add({ digest, rowCount, rawBytes: bytes.length, frameBytes: lengths[at] as number });
    }
    batch.clear();
    this.freeBatch = batch;
  }
}

/** Chunks, copied out of the chunker's buffer. */
class Batch {
  readonly chunks: RawChunk[] = [];
  private memory: Buffer | undefined;
  private used = 0;

  get isFull(): boolean {
    return this.used > BATCH_BYTES - HEADROOM_BYTES || this.chunks.length >= BATCH_CHUNKS;
  }

  /** It needs memory beside its own: the next one waits. */
  get isLarge(): boolean {
    return this.used > BATCH_BYTES;
  }

  add(bytes: Buffer, rowCount: number): void {
    this.chunks.push({ digest: sha256(bytes), bytes: this.keep(bytes), rowCount });
  }

  clear(): void {
    for (const { bytes } of this.chunks) if (bytes.buffer !== this.memory?.buffer) releaseMemory(bytes);
    this.chunks.length = 0;
    this.used = 0;
  }

  release(): void {
    if (this.memory) releaseMemory(this.memory);
    this.memory = undefined;
  }

  private keep(bytes: Buffer): Buffer {
    const memory = (this.memory ??= Buffer.allocUnsafeSlow(BATCH_BYTES));
    const end = this.used + bytes.length;
    // A large row makes a large chunk, with memory of its own.
    const copy = end > memory.length ? Buffer.allocUnsafeSlow(bytes.length) : memory.subarray(this.used, end);
    bytes.copy(copy);
    this.used = end;
    return copy;
  }
}
