import { type ChunkEntry, sha256 } from '@waypost/contracts';
import { releaseMemory } from '@waypost/runtime';
import type { RawChunk, TableWriter } from '../chunk-store/snapshot-store.js';

/** Chunks that are looked up and stored together: as many bytes as this, or as many chunks. Two batches are in memory, no more. */
const BATCH_BYTES = 3 << 20;
const BATCH_CHUNKS = 512;
/** A batch with less room takes no more: hardly any chunk needs more. */
const HEADROOM_BYTES = 512 << 10;

/** Called once a chunk is stored, in the order in which chunks were added. */
type OnStored = (entry: ChunkEntry) => void;

/** Stores chunks in batches: one is filled while the other is stored. */
export class ChunkBatcher {
  private filling = new Batch();
  private freeBatch: Batch | undefined = new Batch();
  private storing: Promise<void> = Promise.resolve();

  constructor(private readonly writer: TableWriter) {}

  add(bytes: Buffer, rowCount: number, onStored: OnStored): void {
    this.filling.add(bytes, rowCount, onStored);
  }

  /** To be awaited before more is added. */
  flushIfFull(): Promise<void> | undefined {
    return this.filling.isFull ? this.flush() : undefined;
  }

  /** Returns when all is stored. */
  async finish(): Promise<void> {
    await this.flush();
    await this.storing;
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
    for (const [at, { digest, bytes, rowCount, onStored }] of batch.chunks.entries()) {
      onStored({ digest, rowCount, rawBytes: bytes.length, frameBytes: lengths[at] as number });
    }
    batch.clear();
    this.freeBatch = batch;
  }
}

/** Memory of batches of earlier builds. Memory that comes fresh from the system costs more than what is copied into it: 10 ms for the chunks of 100 rows. */
const spare: Buffer[] = [];
const MAX_SPARE = 2;

/** Chunks, copied out of the chunker's buffer. */
class Batch {
  readonly chunks: (RawChunk & { onStored: OnStored })[] = [];
  private memory: Buffer | undefined;
  private used = 0;

  get isFull(): boolean {
    return this.used > BATCH_BYTES - HEADROOM_BYTES || this.chunks.length >= BATCH_CHUNKS;
  }

  /** It needs memory beside its own: the next one waits. */
  get isLarge(): boolean {
    return this.used > BATCH_BYTES;
  }

  add(bytes: Buffer, rowCount: number, onStored: OnStored): void {
    this.chunks.push({ digest: sha256(bytes), bytes: this.keep(bytes), rowCount, onStored });
  }

  clear(): void {
    for (const { bytes } of this.chunks) if (bytes.buffer !== this.memory?.buffer) releaseMemory(bytes);
    this.chunks.length = 0;
    this.used = 0;
  }

  release(): void {
    if (this.memory && spare.length < MAX_SPARE) spare.push(this.memory);
    else if (this.memory) releaseMemory(this.memory);
    this.memory = undefined;
  }

  private keep(bytes: Buffer): Buffer {
    const memory = (this.memory ??= spare.pop() ?? Buffer.allocUnsafeSlow(BATCH_BYTES));
    const end = this.used + bytes.length;
    // A large row makes a large chunk, with memory of its own.
    const copy = end > memory.length ? Buffer.allocUnsafeSlow(bytes.length) : memory.subarray(this.used, end);
    bytes.copy(copy);
    this.used = end;
    return copy;
  }
}
