import { type FileHandle, open } from 'node:fs/promises';
import { type ChunkEntry, type ChunkIndex, WaypostError } from '@waypost/contracts';
import type { Logger } from 'pino';
import { shuttingDown } from '../central/race-abort.js';
import { readFully } from '../chunk-source/chunk-file.js';
import { checkIndex } from '../chunk-source/check-index.js';
import { type FoundTable, hasLiveFrames, readLiveIndex, removeLiveFiles } from './live-files.js';
import { checkChunk } from '../chunk-source/open-chunk.js';
import { type FrameMemory, readFrames } from '../chunk-source/read-frames.js';
import type { SpooledTable } from './spooled-table.js';

/** Errors after which the rest is downloaded. */
const NOT_REUSABLE: readonly string[] = ['CHUNK_CORRUPT', 'STORAGE_FAILED'];

/**
 * The chunks on disk of an interrupted live stream. Those that a table of the new manifest begins with are reused, each checked like a chunk
 * from central; everything after the first difference is downloaded.
 */
export class InterruptedStream {
  private readonly memory: FrameMemory = [Buffer.alloc(0), Buffer.alloc(0)];

  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    /** Tables that may still be reused. */
    private readonly tables: Map<string, FoundTable>,
    private readonly log: Logger,
  ) {}

  /** @returns undefined where there are no chunks */
  static async open(path: string, log: Logger): Promise<InterruptedStream | undefined> {
    const file = (await hasLiveFrames(path)) ? await open(path, 'r').catch(() => undefined) : undefined;
    return file && new InterruptedStream(path, file, await readLiveIndex(path), log);
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  /** Removes the files. */
  async remove(): Promise<void> {
    this.tables.clear();
    await this.file.close();
    await removeLiveFiles(this.path).catch((error: unknown) =>
      this.log.warn({ err: error }, 'chunks of an interrupted live stream could not be removed'),
    );
  }

  /** Whether the table's next chunk can be reused. Needs its index. */
  hasNext({ expected, index, chunkCount }: SpooledTable): boolean {
    const table = this.tables.get(expected.name);
    return table !== undefined && index !== undefined && countEqual(table.index, index) > chunkCount;
  }

  /**
   * Appends the chunks that can be reused. Before the table's index has come from central, that is all of them or none: only a complete table gives its own index.
   * After it, the table is not tried again. Removes the files when no table is left, or when the disk is full.
   * @throws WaypostError SHUTTING_DOWN
   */
  async fill(spooled: SpooledTable, signal: AbortSignal): Promise<void> {
    const { name } = spooled.expected;
    const table = this.tables.get(name);
    if (!table) return;
    const isIndexed = spooled.index !== undefined;
    const before = spooled.chunkCount;
    try {
      if (!isIndexed) await adoptIndex(spooled, table);
      if (spooled.index) await this.append(spooled, spooled.index, table, signal);
    } catch (error) {
      if (!(error instanceof WaypostError) || !NOT_REUSABLE.includes(error.code)) throw error;
      this.log.warn({ err: error, table: name }, 'the remaining chunks of an interrupted live stream are not reused');
      if (error.code === 'STORAGE_FAILED') await this.remove();
    }
    const chunks = spooled.chunkCount - before;
    if (chunks > 0) this.log.info({ table: name, chunks }, 'chunks of an interrupted live stream are reused');
    if (isIndexed || spooled.complete) this.tables.delete(name);
    if (this.tables.size === 0) await this.remove();
  }

  private async append(spooled: SpooledTable, index: ChunkIndex, { index: found, start }: FoundTable, signal: AbortSignal): Promise<void> {
    const { memory, file, path } = this;
    const range = { index, start, from: spooled.chunkCount, count: countEqual(found, index), memory };
    for await (const { entry, frame } of readFrames({ ...range, readInto: (bytes, position) => readFully(file, path, bytes, position) })) {
      if (signal.aborted) throw shuttingDown();
      checkChunk(frame, entry);
      await spooled.appendFrames(frame, 1);
    }
  }
}

/** Where the manifest's hash says that all of the table is there. */
async function adoptIndex(spooled: SpooledTable, { index }: FoundTable): Promise<void> {
  const { sha256, format } = spooled.expected;
  if (index.format !== format || index.totals().sha256 !== sha256) return;
  const bytes = index.encode();
  await spooled.appendIndex(bytes, checkIndex(bytes, spooled.expected));
}

/** How many chunks both begin with. A frame of another length is another frame, even with the same rows. */
function countEqual(one: ChunkIndex, other: ChunkIndex): number {
  const most = Math.min(one.length, other.length);
  let at = 0;
  while (at < most && isEqual(one.entry(at), other.entry(at))) at += 1;
  return at;
}

function isEqual(one: ChunkEntry, other: ChunkEntry): boolean {
  return one.digest.equals(other.digest) && one.rawBytes === other.rawBytes && one.frameBytes === other.frameBytes;
}
