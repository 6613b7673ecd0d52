import { type FileHandle, mkdir, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type ChunkEntry, type ChunkIndex, ChunkIndexBuilder, type TableShape, WaypostError } from '@waypost/contracts';
import type { GrowingTable } from './followed-table.js';
import { type FrameMemory, readFrames, type SpooledFrame } from './read-frames.js';

/**
 * The frames of a live stream, on disk from the moment they come until their load has read them: the link may be faster than the database. The file has
 * no name, so that nothing is left of it whatever happens.
 */
export class LiveSpool {
  private length = 0;
  private current: LiveTable | undefined;
  private readonly all: LiveTable[];

  private constructor(
    private readonly file: FileHandle,
    tables: readonly TableShape[],
  ) {
    this.all = tables.map((table) => new LiveTable(table, (bytes, position) => this.readInto(bytes, position)));
  }

  /** @throws WaypostError STORAGE_FAILED */
  static async open(path: string, tables: readonly TableShape[]): Promise<LiveSpool> {
    try {
      await mkdir(dirname(path), { recursive: true });
      const file = await open(path, 'w+');
      await rm(path);
      return new LiveSpool(file, tables);
    } catch (cause) {
      throw storageFailed(cause);
    }
  }

  /** In the draft's order. */
  get tables(): readonly LiveTable[] {
    return this.all;
  }

  /** @throws WaypostError CHUNK_CORRUPT when there is no further table */
  beginTable(): void {
    this.current?.end();
    const next = this.all[this.current ? this.all.indexOf(this.current) + 1 : 0];
    if (!next) throw new WaypostError('CHUNK_CORRUPT', { detail: 'A live stream has more tables than its draft.' });
    next.begin(this.length);
    this.current = next;
  }

  /** @param frames of `entries`, one after another */
  async append(frames: Buffer, entries: readonly ChunkEntry[]): Promise<void> {
    if (!this.current) throw new WaypostError('CHUNK_CORRUPT', { detail: 'A live stream has chunks before its first table.' });
    const { bytesWritten } = await this.file.write(frames, 0, frames.length, this.length).catch((cause: unknown) => {
      throw storageFailed(cause);
    });
    if (bytesWritten !== frames.length) throw storageFailed(new Error('a live stream could not be written in full: is the disk full?'));
    this.length += bytesWritten;
    this.current.add(entries);
  }

  /** All chunks have come. */
  end(): void {
    this.current?.end();
    const missing = this.all.find((table) => !table.complete);
    if (missing) throw new WaypostError('CHUNK_CORRUPT', { detail: `A live stream has ended without ${missing.promise.name}.` });
  }

  /** No more chunks will come. */
  cut(): void {
    for (const table of this.all) table.cut();
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  private async readInto(bytes: Buffer, position: number): Promise<Buffer> {
    const { bytesRead } = await this.file.read(bytes, 0, bytes.length, position).catch((cause: unknown) => {
      throw storageFailed(cause);
    });
    if (bytesRead !== bytes.length)
      throw new WaypostError('CHUNK_CORRUPT', { detail: 'A live stream’s file is shorter than what was written to it.' });
    return bytes;
  }
}

/** One table of a live stream. */
class LiveTable implements GrowingTable {
  complete = false;
  isCut = false;
  readonly restarts = 0;
  chunkCount = 0;
  private readonly builder: ChunkIndexBuilder;
  private growth = Promise.withResolvers<void>();
  private readonly memory: FrameMemory = [Buffer.alloc(0), Buffer.alloc(0)];
  private start = 0;

  constructor(
    readonly promise: TableShape,
    private readonly readInto: (bytes: Buffer, position: number) => Promise<Buffer>,
  ) {
    this.builder = new ChunkIndexBuilder(promise.format);
  }

  get grown(): Promise<void> {
    return this.growth.promise;
  }

  /** Of the chunks that have come. */
  get index(): ChunkIndex {
    return this.builder.build();
  }

  begin(start: number): void {
    this.start = start;
  }

  add(entries: readonly ChunkEntry[]): void {
    for (const entry of entries) this.builder.add(entry);
    this.chunkCount += entries.length;
    this.tellReaders();
  }

  end(): void {
    this.complete = true;
    this.tellReaders();
  }

  cut(): void {
    this.isCut = !this.complete;
    this.tellReaders();
  }

  frames(first = 0): AsyncGenerator<SpooledFrame, void> {
    return readFrames({
      index: this.index,
      start: this.start,
      from: first,
      count: this.chunkCount,
      memory: this.memory,
      readInto: this.readInto,
    });
  }

  private tellReaders(): void {
    this.growth.resolve();
    this.growth = Promise.withResolvers();
  }
}

function storageFailed(cause: unknown): WaypostError {
  return new WaypostError('STORAGE_FAILED', { detail: `DOWNLOAD_DIR: ${(cause as Error).message}`, cause });
}
