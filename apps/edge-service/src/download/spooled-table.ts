import { type FileHandle, open, readFile, rm, writeFile } from 'node:fs/promises';
import { type ChunkIndex, HEADER_BYTES, INDEX_ENTRY_BYTES, WaypostError } from '@waypost/contracts';
import { checkHeader, checkIndex, type StreamPromise } from '../chunk-source/check-index.js';
import { checkChunk } from '../chunk-source/open-chunk.js';
import { type FrameMemory, readFrames, type SpooledFrame } from '../chunk-source/read-frames.js';

/**
 * A table's chunk stream on disk: exactly the bytes of the wire, as far as they have come. What the file holds up to `length` was checked
 * by this process: at arrival, or anew when the file of an earlier attempt was opened. Anything behind the last good chunk is cut off.
 */
export class SpooledTable {
  /** Set once header and index are there. */
  index: ChunkIndex | undefined;
  /** Chunks on disk, from the first. */
  chunkCount = 0;
  /** Bytes on disk: header, index and `chunkCount` frames. */
  length = 0;
  /** The stream's ETag at central, without which its rest cannot be asked for. */
  etag: string | undefined;
  /** How often the stream was begun anew: what was read before says nothing of the bytes that follow. */
  restarts = 0;
  private growth = Promise.withResolvers<void>();
  private readonly memory: FrameMemory = [Buffer.alloc(0), Buffer.alloc(0)];

  private constructor(
    readonly promise: StreamPromise,
    private readonly path: string,
    private readonly file: FileHandle,
  ) {}

  /** @throws WaypostError STORAGE_FAILED */
  static async open(path: string, promise: StreamPromise): Promise<SpooledTable> {
    const file = await openOrCreate(path).catch((error: unknown) => failed(path, error));
    const spooled = new SpooledTable(promise, path, file);
    try {
      await spooled.takeUp();
      return spooled;
    } catch (error) {
      await file.close();
      return failed(path, error);
    }
  }

  get complete(): boolean {
    return this.length === this.promise.streamBytes;
  }

  /** Forgets what is there: the stream starts anew, under this ETag. */
  async restart(etag: string | undefined): Promise<void> {
    this.index = undefined;
    this.chunkCount = 0;
    this.length = 0;
    this.etag = etag;
    this.restarts += 1;
    this.tellReaders();
    await this.file.truncate(0).catch((error: unknown) => failed(this.path, error));
    const remember = etag === undefined ? rm(`${this.path}.etag`, { force: true }) : writeFile(`${this.path}.etag`, etag);
    await remember.catch((error: unknown) => failed(this.path, error));
  }

  async appendIndex(bytes: Buffer, index: ChunkIndex): Promise<void> {
    await this.append(bytes);
    this.index = index;
    this.tellReaders();
  }

  /** @param frames `count` checked ones, the next in order, one after another */
  async appendFrames(frames: Buffer, count: number): Promise<void> {
    await this.append(frames);
    this.chunkCount += count;
    this.tellReaders();
  }

  /** Settles when the index or more chunks have come, or the stream was begun anew. */
  get grown(): Promise<void> {
    return this.growth.promise;
  }

  /**
   * The frames that are on disk now, in order, from the `first` on. The next ones are read while the caller works on these. A frame is valid only until the caller asks for
   * the next one: its memory is used again.
   * @throws WaypostError STORAGE_FAILED, CHUNK_CORRUPT when the file is shorter than what was written to it
   */
  async *frames(first = 0): AsyncGenerator<SpooledFrame, void> {
    if (this.index) yield* this.framesOf(this.index, first, this.chunkCount);
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  private tellReaders(): void {
    this.growth.resolve();
    this.growth = Promise.withResolvers();
  }

  private framesOf(index: ChunkIndex, from: number, count: number): AsyncGenerator<SpooledFrame, void> {
    const start = HEADER_BYTES + index.length * INDEX_ENTRY_BYTES;
    return readFrames({ index, start, from, count, memory: this.memory, readInto: (bytes, position) => this.readInto(bytes, position) });
  }

  private async readInto(bytes: Buffer, position: number): Promise<Buffer> {
    const { bytesRead } = await this.file.read(bytes, 0, bytes.length, position).catch((error: unknown) => failed(this.path, error));
    if (bytesRead !== bytes.length)
      throw new WaypostError('CHUNK_CORRUPT', { detail: `${this.path} is shorter than what was written to it.` });
    return bytes;
  }

  private async append(bytes: Buffer): Promise<void> {
    const { bytesWritten } = await this.file.write(bytes, 0, bytes.length, this.length).catch((error: unknown) => failed(this.path, error));
    if (bytesWritten !== bytes.length) {
      throw new WaypostError('STORAGE_FAILED', { detail: `${this.path} could not be written in full: is the disk full?` });
    }
    this.length += bytesWritten;
  }

  /** Adopts what an earlier attempt left, as far as it is good. */
  private async takeUp(): Promise<void> {
    const { size } = await this.file.stat();
    this.etag = await readFile(`${this.path}.etag`, 'utf8').catch(() => undefined);
    if (size >= HEADER_BYTES) {
      await this.takeUpChunks(size).catch((error: unknown) => {
        if (!(error instanceof WaypostError) || error.code !== 'CHUNK_CORRUPT') throw error;
      });
    }
    if (this.index && (this.complete || this.etag !== undefined)) await this.file.truncate(this.length);
    else await this.restart(undefined);
  }

  private async takeUpChunks(size: number): Promise<void> {
    const indexBytes = checkHeader(await this.readInto(Buffer.alloc(HEADER_BYTES), 0), this.promise);
    if (size < indexBytes) return;
    const index = checkIndex(await this.readInto(Buffer.alloc(indexBytes), 0), this.promise);
    this.index = index;
    this.length = indexBytes;
    let whole = 0;
    for (let end = indexBytes; whole < index.length; whole += 1) {
      end += index.entry(whole).frameBytes;
      if (end > size) break;
    }
    for await (const { entry, frame } of this.framesOf(index, 0, whole)) {
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
  if (error instanceof WaypostError) throw error;
  const why = error instanceof Error ? error.message : String(error);
  throw new WaypostError('STORAGE_FAILED', { detail: `${path}: ${why}`, cause: error });
}
