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
import { readFully, storageFailed, writeFully } from '../chunk-source/chunk-file.js';
import { type FrameLocation, GrowingChunks } from '../chunk-source/growing-chunks.js';
import { beginLiveIndex, liveIndexPath, removeLiveFiles } from './live-files.js';

/**
 * The frames of a live stream, on disk until they are loaded: the link may be faster than the database. They stay there, for
 * InterruptedStream, until they are removed.
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
    this.all = tables.map((table) => new LiveTable(table, (bytes, position) => readFully(file, path, bytes, position)));
  }

  /** Overwrites what is there. @throws WaypostError STORAGE_FAILED */
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
      throw storageFailed(path, cause);
    }
  }

  /** In the preamble's order. */
  get tables(): readonly LiveTable[] {
    return this.all;
  }

  /** @throws WaypostError CHUNK_CORRUPT when there is no further table */
  beginTable(): void {
    this.current?.end();
    const next = this.all[this.current ? this.all.indexOf(this.current) + 1 : 0];
    if (!next) throw new WaypostError('CHUNK_CORRUPT', { detail: 'A live stream has more tables than its preamble.' });
    next.begin(this.length);
    this.pending.push(liveHead('table', 0));
    this.current = next;
  }

  /** @param frames of `entries`, one after another */
  async append(frames: Buffer, entries: readonly ChunkEntry[]): Promise<void> {
    if (!this.current) throw new WaypostError('CHUNK_CORRUPT', { detail: 'A live stream has chunks before its first table.' });
    await this.write(this.file, this.path, frames);
    await this.write(this.indexFile, liveIndexPath(this.path), Buffer.concat([...this.pending, ...entries.map(liveChunkHead)]));
    this.pending = [];
    this.length += frames.length;
    this.current.add(entries);
  }

  /** All chunks have arrived. */
  end(): void {
    this.current?.end();
    const missing = this.all.find((table) => !table.complete);
    if (missing) throw new WaypostError('CHUNK_CORRUPT', { detail: `A live stream has ended without ${missing.expected.name}.` });
  }

  /** No more chunks will arrive. */
  truncate(): void {
    for (const table of this.all) table.truncate();
  }

  /** Leaves what was written to the next download, unless nothing was, or a write failed. */
  async close(): Promise<void> {
    await this.file.close();
    await this.indexFile.close();
    if (this.isDamaged || this.length === 0) await removeLiveFiles(this.path);
  }

  private async write(file: FileHandle, path: string, bytes: Buffer): Promise<void> {
    try {
      await writeFully(file, path, bytes, null);
    } catch (error) {
      this.isDamaged = true;
      throw error;
    }
  }
}

/** One table of a live stream. */
class LiveTable extends GrowingChunks {
  complete = false;
  private isTruncated = false;
  private start = 0;
  private readonly builder: ChunkIndexBuilder;

  constructor(
    readonly expected: TableShape,
    private readonly readBytes: (bytes: Buffer, position: number) => Promise<Buffer>,
  ) {
    super();
    this.builder = new ChunkIndexBuilder(expected.format);
  }

  override get truncated(): boolean {
    return this.isTruncated;
  }

  /** Of the chunks that have arrived. */
  get index(): ChunkIndex {
    return this.builder.build();
  }

  begin(start: number): void {
    this.start = start;
  }

  add(entries: readonly ChunkEntry[]): void {
    for (const entry of entries) this.builder.add(entry);
    this.chunkCount += entries.length;
    this.notify();
  }

  end(): void {
    this.complete = true;
    this.notify();
  }

  truncate(): void {
    this.isTruncated = !this.complete;
    this.notify();
  }

  protected location(): FrameLocation {
    return { index: this.index, start: this.start };
  }

  protected readInto(bytes: Buffer, position: number): Promise<Buffer> {
    return this.readBytes(bytes, position);
  }
}
