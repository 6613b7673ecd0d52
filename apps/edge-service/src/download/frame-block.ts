import { releaseMemory } from '@waypost/runtime';

/** Frames are collected and written together. */
const BLOCK_BYTES = 512 << 10;

/** Collects frames, to write them together. Memory holds one block, or one frame where that is larger. */
export class FrameBlock {
  private block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  private usedBytes = 0;
  private reservedBytes = 0;
  private count = 0;

  /** @param write gets `count` whole frames, one after another; they are valid until its promise settles */
  constructor(private readonly write: (frames: Buffer, count: number) => Promise<void>) {}

  /** Where the next frame goes. Flushes first where it has no room. */
  async reserve(frameBytes: number): Promise<Buffer> {
    if (this.usedBytes + frameBytes > this.block.length) {
      await this.flush();
      if (frameBytes > this.block.length) this.replaceBlock(frameBytes);
    }
    this.reservedBytes = frameBytes;
    return this.block.subarray(this.usedBytes, this.usedBytes + frameBytes);
  }

  /** The reserved frame is there. A long one is written at once: it does not stay in memory until the next one comes. */
  async commit(): Promise<void> {
    this.usedBytes += this.reservedBytes;
    this.count += 1;
    if (this.block.length > BLOCK_BYTES) await this.flush();
  }

  /** Writes the frames that were committed. A reserved one is lost. */
  async flush(): Promise<void> {
    if (this.count === 0) return;
    await this.write(this.block.subarray(0, this.usedBytes), this.count);
    this.usedBytes = 0;
    this.count = 0;
    if (this.block.length > BLOCK_BYTES) this.replaceBlock(BLOCK_BYTES);
  }

  private replaceBlock(bytes: number): void {
    releaseMemory(this.block);
    this.block = Buffer.allocUnsafeSlow(bytes);
  }
}
