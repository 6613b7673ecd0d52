import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import {
  type ChunkEntry,
  type ChunkIndex,
  ChunkIndexBuilder,
  liveChunkHead,
  liveHead,
  type TableShape,
  WaypostError,
} from '@waypost/contracts';
import type { GrowingTable } from '../chunk-source/tail-reader.js';
import { beginLiveIndex, liveIndexPath, removeLiveFiles } from './live-files.js';
import { type FrameMemory, readFrames, type SpooledFrame } from '../chunk-source/read-frames.js';

/**
 * The frames of a live stream, on disk from the moment they come until their load has read them: the link may be faster than the database. What has come
 * stays there, for InterruptedStream, until it is removed.
 */
export class LiveSpool {
  private length = 0;
  /** Of the index file: what is written with the next chunks' entries. */
  private pending: Buffer[];
  private isDamaged = false;
  private current: LiveTable | undefined;
  private readonly all: LiveTable[];

  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    private readonly indexFile: FileHandle,
    tables: readonly TableShape[],
  ) {
    this.pending = [beginLiveIndex(tables)];
    this.all = tables.map((table) => new LiveTable(table, (bytes, position) => this.readInto(bytes, position)));
  }

  /** What is there already is overwritten. @throws WaypostError STORAGE_FAILED */
  static async open(path: string, tables: readonly TableShape[]): Promise<LiveSpool> {
    try {
      await mkdir(dirname(path), { recursive: true });
      const indexFile = await open(liveIndexPath(path), 'w');
      const file = await open(path, 'w+').catch(async (error: unknown) => {
        await indexFile.close();
        throw error;
      });
      return new LiveSpool(path, file, indexFile, tables);
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
    this.pending.push(liveHead('table', 0));
    this.current = next;
  }

  /** @param frames of `entries`, one after another */
  async append(frames: Buffer, entries: readonly ChunkEntry[]): Promise<void> {
    if (!this.current) throw new WaypostError('CHUNK_CORRUPT', { detail: 'A live stream has chunks before its first table.' });
    await this.write(this.file, frames);
    await this.write(this.indexFile, Buffer.concat([...this.pending, ...entries.map(liveChunkHead)]));
    this.pending = [];
    this.length += frames.length;
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

  /** What was written stays for the next download, unless there is nothing, or the disk had no space for all of it. */
  async close(): Promise<void> {
    await this.file.close();
    await this.indexFile.close();
    if (this.isDamaged || this.length === 0) await removeLiveFiles(this.path);
  }

  private async write(file: FileHandle, bytes: Buffer): Promise<void> {
    try {
      const { bytesWritten } = await file.write(bytes);
      if (bytesWritten !== bytes.length) throw new Error('a live stream could not be written in full: is the disk full?');
    } catch (cause) {
      this.isDamaged = true;
      throw storageFailed(cause);
    }
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
