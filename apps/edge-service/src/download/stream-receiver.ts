import { type ChunkIndex, HEADER_BYTES } from '@waypost/contracts';
import { faultPoint, releaseMemory } from '@waypost/runtime';
import { checkHeader, checkIndex, corrupt } from '../chunk-source/check-index.js';
import { checkChunk } from '../chunk-source/open-chunk.js';
import type { SpooledTable } from './spooled-table.js';

/** Frames are collected and written together. */
const BLOCK_BYTES = 512 << 10;

/**
 * Takes a chunk stream as it arrives, split anywhere, and spools what is good: the index when the manifest's hash vouches for it, each
 * frame when its digest is right. Memory holds one block, or one frame where that is larger, whatever the table's size.
 */
export class StreamReceiver {
  /** Header and index, until they are complete. */
  private head = Buffer.alloc(HEADER_BYTES);
  /** [0, goodBytes) are checked frames, then comes the one under way. */
  private block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  private goodBytes = 0;
  private goodFrames = 0;
  /** How much of the head, or of the frame under way, is there. */
  private gathered = 0;
  private nextChunk: number;
  private position: number;

  constructor(private readonly spooled: SpooledTable) {
    this.nextChunk = spooled.chunkCount;
    this.position = spooled.length;
  }

  /** @throws WaypostError CHUNK_CORRUPT, STORAGE_FAILED */
  async push(input: Buffer): Promise<void> {
    const { promise } = this.spooled;
    if (this.position + input.length > promise.streamBytes) throw corrupt(promise, 'it is longer than the manifest says');
    this.position += input.length;
    for (let at = 0; at < input.length;) {
      const { index } = this.spooled;
      at += index ? await this.takeFrame(input, at, index) : await this.takeHead(input, at);
    }
  }

  /** Spools the good chunks that have come, also after a failure; `push` must not be called any more. */
  async settle(): Promise<void> {
    await this.write();
  }

  /** @returns how many bytes of the input it took */
  private async takeHead(input: Buffer, at: number): Promise<number> {
    const taken = input.copy(this.head, this.gathered, at);
    this.gathered += taken;
    if (this.gathered < this.head.length) return taken;
    const { promise } = this.spooled;
    const length = checkHeader(this.head, promise);
    if (length > this.head.length) {
      const larger = Buffer.allocUnsafeSlow(length);
      this.head.copy(larger);
      this.head = larger;
    } else {
      await this.spooled.appendIndex(this.head, checkIndex(this.head, promise));
      this.gathered = 0;
    }
    return taken;
  }

  /** As takeHead. */
  private async takeFrame(input: Buffer, at: number, index: ChunkIndex): Promise<number> {
    const entry = index.entry(this.nextChunk);
    if (this.gathered === 0) await this.makeRoom(entry.frameBytes);
    const end = this.goodBytes + entry.frameBytes;
    const taken = input.copy(this.block, this.goodBytes + this.gathered, at, at + entry.frameBytes - this.gathered);
    this.gathered += taken;
    if (this.gathered === entry.frameBytes) {
      checkChunk(this.block.subarray(this.goodBytes, end), entry);
      this.goodBytes = end;
      this.goodFrames += 1;
      this.nextChunk += 1;
      this.gathered = 0;
      // A long row's frame does not stay in memory until the next one comes.
      if (this.block.length > BLOCK_BYTES) await this.write();
    }
    return taken;
  }

  private async makeRoom(frameBytes: number): Promise<void> {
    if (this.goodBytes + frameBytes <= this.block.length) return;
    await this.write();
    if (frameBytes > this.block.length) this.replaceBlock(frameBytes);
  }

  private async write(): Promise<void> {
    if (this.goodFrames === 0) return;
    await faultPoint('edge.chunks-received');
    await this.spooled.appendFrames(this.block.subarray(0, this.goodBytes), this.goodFrames);
    await faultPoint('edge.chunks-spooled');
    this.goodBytes = 0;
    this.goodFrames = 0;
    if (this.block.length > BLOCK_BYTES) this.replaceBlock(BLOCK_BYTES);
  }

  private replaceBlock(bytes: number): void {
    releaseMemory(this.block);
    this.block = Buffer.allocUnsafeSlow(bytes);
  }
}
