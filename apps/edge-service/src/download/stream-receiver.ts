import { type ChunkIndex, HEADER_BYTES } from '@waypost/contracts';
import { checkHeader, checkIndex, corrupt } from './check-index.js';
import { openChunk } from './open-chunk.js';
import type { SpooledTable } from './spooled-table.js';

/** Frames are written together, up to about this much. */
const WRITE_BYTES = 256 << 10;

/**
 * Takes a chunk stream as it arrives, split anywhere, and spools what is good: the index when the manifest's hash vouches for it, each
 * frame when its digest is right. Memory holds a few frames, whatever the table's size.
 */
export class StreamReceiver {
  /** What is being put together: header, index or one frame. */
  private gathering: Buffer | undefined;
  private gathered = 0;
  private nextChunk: number;
  private position: number;
  private checked: Buffer[] = [];
  private checkedBytes = 0;

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
      this.gathering ??= Buffer.allocUnsafeSlow(this.spooled.index ? this.spooled.index.entry(this.nextChunk).frameBytes : HEADER_BYTES);
      const taken = input.copy(this.gathering, this.gathered, at);
      at += taken;
      this.gathered += taken;
      if (this.gathered === this.gathering.length) await this.gatheredAll(this.gathering);
    }
  }

  /** Spools the good chunks that have come, also after a failure; `push` must not be called any more. */
  async settle(): Promise<void> {
    await this.write();
  }

  private async gatheredAll(bytes: Buffer): Promise<void> {
    if (this.spooled.index) {
      this.gathering = undefined;
      this.gathered = 0;
      await this.check(bytes, this.spooled.index);
      return;
    }
    const indexBytes = checkHeader(bytes, this.spooled.promise);
    if (bytes.length < indexBytes) {
      this.gathering = Buffer.allocUnsafeSlow(indexBytes);
      bytes.copy(this.gathering);
      return;
    }
    this.gathering = undefined;
    this.gathered = 0;
    await this.spooled.appendIndex(bytes, checkIndex(bytes, this.spooled.promise));
  }

  private async check(frame: Buffer, index: ChunkIndex): Promise<void> {
    openChunk(frame, index.entry(this.nextChunk));
    this.nextChunk += 1;
    this.checked.push(frame);
    this.checkedBytes += frame.length;
    if (this.checkedBytes >= WRITE_BYTES) await this.write();
  }

  private async write(): Promise<void> {
    const frames = this.checked;
    this.checked = [];
    this.checkedBytes = 0;
    if (frames.length > 0) await this.spooled.appendFrames(frames);
  }
}
