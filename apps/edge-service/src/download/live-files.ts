import { readFile, rm, stat } from 'node:fs/promises';
import {
  type ChunkIndex,
  ChunkIndexBuilder,
  INDEX_ENTRY_BYTES,
  LIVE_HEAD_BYTES,
  liveHead,
  readEntry,
  readLiveHead,
  type TableShape,
} from '@waypost/contracts';

type NamedTable = Pick<TableShape, 'name' | 'format'>;

/** The chunks of a table, unchecked. */
export interface FoundTable {
  index: ChunkIndex;
  /** Where its first frame lies in the file of frames. */
  start: number;
}

/**
 * A live stream is spooled to two files: `path` holds its frames, one after another; the index beside it holds the stream's records without the frames (names and formats of
 * the tables as JSON, then for each table its mark and the entries of its chunks). An entry is written after its frame, but nothing is flushed: after a power
 * loss either file may end anywhere, or hold anything.
 */
export function liveIndexPath(path: string): string {
  return `${path}.index`;
}

/** Idempotent. */
export async function removeLiveFiles(path: string): Promise<void> {
  await rm(path, { force: true });
  await rm(liveIndexPath(path), { force: true });
}

/** Whether there are frames to reuse. */
export async function hasLiveFrames(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found !== undefined && found.size > 0;
}

/** What the index begins with. */
export function beginLiveIndex(tables: readonly NamedTable[]): Buffer {
  const json = Buffer.from(JSON.stringify(tables.map(({ name, format }) => ({ name, format }))));
  return Buffer.concat([liveHead('preamble', json.length), json]);
}

/** @returns tables by name, as far as the index can be read */
export async function readLiveIndex(path: string): Promise<Map<string, FoundTable>> {
  const found = new Map<string, FoundTable>();
  const bytes = await readFile(liveIndexPath(path)).catch(() => Buffer.alloc(0));
  try {
    let at = LIVE_HEAD_BYTES + readLiveHead(bytes).length;
    const tables = JSON.parse(bytes.toString('utf8', LIVE_HEAD_BYTES, at)) as NamedTable[];
    let position = 0;
    for (const { name, format } of tables) {
      if (readLiveHead(bytes.subarray(at)).type !== 'table') break;
      at += LIVE_HEAD_BYTES;
      const start = position;
      const chunks = new ChunkIndexBuilder(format);
      try {
        while (readLiveHead(bytes.subarray(at)).type === 'chunk') {
          const entry = readEntry(bytes, at + LIVE_HEAD_BYTES);
          chunks.add(entry);
          position += entry.frameBytes;
          at += LIVE_HEAD_BYTES + INDEX_ENTRY_BYTES;
        }
      } finally {
        found.set(name, { start, index: chunks.build() });
      }
    }
  } catch {
    // Truncated or damaged: the rest of the index is ignored.
  }
  return found;
}
