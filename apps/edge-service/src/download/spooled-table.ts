import { type FileHandle, open, readFile, rm, writeFile } from 'node:fs/promises';
import { type ChunkIndex, HEADER_BYTES, INDEX_ENTRY_BYTES, WaypostError } from '@waypost/contracts';
import { checkHeader, checkIndex, type StreamExpectation } from '../chunk-source/check-index.js';
import { readFully, storageFailed, writeFully } from '../chunk-source/chunk-file.js';
import { type FrameLocation, GrowingChunks } from '../chunk-source/growing-chunks.js';
import { checkChunk } from '../chunk-source/open-chunk.js';

/**
 * A table's chunk stream on disk: exactly the bytes of the wire, as far as they have come. This process has checked what the file holds up
 * to `length`: on arrival, or when it opened the file of an earlier attempt. Anything behind the last good chunk is truncated.
 */
export class SpooledTable extends GrowingChunks {
  /** Set once header and index are there. */
  index: ChunkIndex | undefined;
  /** Bytes on disk: header, index and `chunkCount` frames. */
  length = 0;
  /** The stream's ETag at central, without which its rest cannot be asked for. */
  etag: string | undefined;

  private constructor(
    readonly expected: StreamExpectation,
    private readonly path: string,
    private readonly file: FileHandle,
  ) {
    super();
  }

  /** Resumes what an earlier attempt left, as far as it is good. @throws WaypostError STORAGE_FAILED */
  static async open(path: string, expected: StreamExpectation): Promise<SpooledTable> {
    const file = await openOrCreate(path).catch((error: unknown) => failed(path, error));
    const spooled = new SpooledTable(expected, path, file);
    try {
      await spooled.resume();
      return spooled;
    } catch (error) {
      await file.close();
      return failed(path, error);
    }
  }

  get complete(): boolean {
    return this.length === this.expected.streamBytes;
  }

  /** Discards what is there: the stream starts over, under this ETag. */
  async restart(etag: string | undefined): Promise<void> {
    this.index = undefined;
    this.chunkCount = 0;
    this.length = 0;
    this.etag = etag;
    this.restarts += 1;
    this.notify();
    await this.file.truncate(0).catch((error: unknown) => failed(this.path, error));
    const remember = etag === undefined ? rm(`${this.path}.etag`, { force: true }) : writeFile(`${this.path}.etag`, etag);
    await remember.catch((error: unknown) => failed(this.path, error));
  }

  async appendIndex(bytes: Buffer, index: ChunkIndex): Promise<void> {
    await this.append(bytes);
    this.index = index;
    this.notify();
  }

  /** @param frames `count` checked ones, the next in order, one after another */
  async appendFrames(frames: Buffer, count: number): Promise<void> {
    await this.append(frames);
    this.chunkCount += count;
    this.notify();
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  protected location(): FrameLocation | undefined {
    const { index } = this;
    return index && { index, start: HEADER_BYTES + index.length * INDEX_ENTRY_BYTES };
  }

  protected readInto(bytes: Buffer, position: number): Promise<Buffer> {
    return readFully(this.file, this.path, bytes, position);
  }

  private async append(bytes: Buffer): Promise<void> {
    await writeFully(this.file, this.path, bytes, this.length);
    this.length += bytes.length;
  }

  private async resume(): Promise<void> {
    const { size } = await this.file.stat();
    this.etag = await readFile(`${this.path}.etag`, 'utf8').catch(() => undefined);
    if (size >= HEADER_BYTES) {
      await this.resumeChunks(size).catch((error: unknown) => {
        if (!(error instanceof WaypostError) || error.code !== 'CHUNK_CORRUPT') throw error;
      });
    }
    if (this.index && (this.complete || this.etag !== undefined)) await this.file.truncate(this.length);
    else await this.restart(undefined);
  }

  private async resumeChunks(size: number): Promise<void> {
    const indexBytes = checkHeader(await this.readInto(Buffer.alloc(HEADER_BYTES), 0), this.expected);
    if (size < indexBytes) return;
    const index = checkIndex(await this.readInto(Buffer.alloc(indexBytes), 0), this.expected);
    this.index = index;
    this.length = indexBytes;
    let whole = 0;
    for (let end = indexBytes; whole < index.length; whole += 1) {
      end += index.entry(whole).frameBytes;
      if (end > size) break;
    }
    for await (const { entry, frame } of this.framesBetween(0, whole)) {
      checkChunk(frame, entry);
      this.length += entry.frameBytes;
      this.chunkCount += 1;
    }
  }
}

async function openOrCreate(path: string): Promise<FileHandle> {
  return open(path, 'r+').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return open(path, 'w+');
    throw error;
  });
}

function failed(path: string, error: unknown): never {
  throw storageFailed(path, error);
}
