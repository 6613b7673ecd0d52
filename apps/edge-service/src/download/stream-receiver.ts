import { type ChunkIndex, HEADER_BYTES } from '@waypost/contracts';
import { faultPoint } from '@waypost/runtime';
import { checkHeader, checkIndex, corrupt } from '../chunk-source/check-index.js';
import { checkChunk } from '../chunk-source/open-chunk.js';
import { FrameBlock } from './frame-block.js';
import type { SpooledTable } from './spooled-table.js';

/**
 * Takes a chunk stream as it arrives, split anywhere, and spools what is good: the index when it fits the manifest's hash, each frame
 * when its digest is right. Memory holds one block, or one frame where that is larger, whatever the table's size.
 */
export class StreamReceiver {
  /** Header and index, until they are complete. */
  private head = Buffer.alloc(HEADER_BYTES);
  private readonly block = new FrameBlock((frames, count) => this.spool(frames, count));
  /** Where the current frame goes. */
  private frame: Buffer = Buffer.alloc(0);
  /** Bytes of the head, or of the current frame, that are there. */
  private gathered = 0;
  private nextChunk: number;
  private position: number;

  constructor(private readonly spooled: SpooledTable) {
    this.nextChunk = spooled.chunkCount;
    this.position = spooled.length;
  }

  /** @throws WaypostError CHUNK_CORRUPT, STORAGE_FAILED */
  async push(input: Buffer): Promise<void> {
    const { expected } = this.spooled;
    if (this.position + input.length > expected.streamBytes) throw corrupt(expected, 'it is longer than the manifest says');
    this.position += input.length;
    for (let at = 0; at < input.length;) {
      const { index } = this.spooled;
      at += index ? await this.takeFrame(input, at, index) : await this.takeHead(input, at);
    }
  }

  /** Spools the good chunks that have arrived, also after a failure. Do not call `push` after it. */
  async settle(): Promise<void> {
    await this.block.flush();
  }

  /** @returns how many bytes of the input it took */
  private async takeHead(input: Buffer, at: number): Promise<number> {
    const taken = input.copy(this.head, this.gathered, at);
    this.gathered += taken;
    if (this.gathered < this.head.length) return taken;
    const { expected } = this.spooled;
    const length = checkHeader(this.head, expected);
    if (length > this.head.length) {
      const larger = Buffer.allocUnsafeSlow(length);
      this.head.copy(larger);
      this.head = larger;
    } else {
      await this.spooled.appendIndex(this.head, checkIndex(this.head, expected));
      this.gathered = 0;
    }
    return taken;
  }

  /** As takeHead. */
  private async takeFrame(input: Buffer, at: number, index: ChunkIndex): Promise<number> {
    const entry = index.entry(this.nextChunk);
    if (this.gathered === 0) this.frame = await this.block.reserve(entry.frameBytes);
    const taken = input.copy(this.frame, this.gathered, at);
    this.gathered += taken;
    if (this.gathered === entry.frameBytes) {
      checkChunk(this.frame, entry);
      this.nextChunk += 1;
      this.gathered = 0;
      await this.block.commit();
    }
    return taken;
  }

  private async spool(frames: Buffer, count: number): Promise<void> {
    await faultPoint('edge.chunks-received');
    await this.spooled.appendFrames(frames, count);
    await faultPoint('edge.chunks-spooled');
  }
}
