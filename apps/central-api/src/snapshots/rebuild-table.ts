import {
  areFindable,
  type ChunkEntry,
  type ChunkIndex,
  ChunkIndexBuilder,
  copyRowChange,
  keyFieldsOf,
  replaceChunks,
  type RowChange,
} from '@waypost/contracts';
import {
  type ChunkRun,
  chunksOf,
  cutRuns,
  describeSpan,
  type KeyedSource,
  locateKeys,
  type ReadRows,
  RowsTooLong,
  runsOf,
  spliceRows,
} from '@waypost/runtime';
import type pg from 'pg';
import { MAX_NOTED_BYTES } from '../chunk-store/row-changes.js';
import type { ChunkedTable, SnapshotStore, StoredBase } from '../chunk-store/snapshot-store.js';
import { ChunkBatcher } from './chunk-batcher.js';

interface TableChange {
  /** As the table was. */
  base: StoredBase;
  source: KeyedSource;
  /** Keys of all rows that may have changed since: the values of each key column as text, column by column. */
  keys: readonly (readonly string[])[];
  /** Whether ranges of keys are cheap to read. */
  hasRanges: boolean;
  store: Pick<SnapshotStore, 'create'>;
  signal: AbortSignal | undefined;
}

/** What a table has now, and how much of it was read. */
export interface RebuiltTable extends Pick<ChunkedTable, 'index'> {
  readRows: number;
  readBytes: number;
  /** The rows that differ from the base, where they are known and not too many. */
  changes?: RowChange[] | undefined;
}

/** Where more of the chunks are to be read than this part, reading all of them in one go is cheaper. */
const MAX_PART = 0.3;
/** A longer chunk, one with a long row, is not put together from its rows: memory would hold it several times. */
const MAX_SPLICED_BYTES = 4 << 20;
/** Where more keys than this lie in a chunk, on average, reading its range is cheaper than looking for each of them. */
const MAX_KEYS_PER_CHUNK = 16;

/**
 * Reads the chunks that changed keys lie in, within the scope, and takes all others from the base: the tree is the same, bit for bit, as if the table were
 * read whole, provided that no other row has changed.
 * @returns a text where the table is to be read whole: why
 */
export async function rebuildTable(
  client: pg.ClientBase,
  { base, source, keys, hasRanges, store, signal }: TableChange,
): Promise<RebuiltTable | string> {
  const keyFields = keyFieldsOf(source.layout);
  const isFitting = base.borders.keyFields.join() === keyFields.join() && base.borders.length === base.index.length;
  if (!isFitting || base.borders.length === 0) return 'it had another key, or no rows';
  const located = await locateKeys(client, source, base.borders, keys);
  const places = chunksOf(located, base.borders.length);
  if (places.length > Math.max(1, base.borders.length * MAX_PART)) return 'its changed rows lie in too many of its chunks';
  const runs = runsOf(places);
  const isLong = places.some((at) => base.index.entry(at).rawBytes > MAX_SPLICED_BYTES);
  const reading = { client, base, source, runs, store, signal };
  const readRanges = (): Promise<RebuiltTable> | string =>
    hasRanges ? readRuns(reading) : 'rows are long, and no index has the order of its key';
  if (isLong) return readRanges();
  if (hasRanges && located.length > places.length * MAX_KEYS_PER_CHUNK) return readRanges();
  const changes = new NotedChanges();
  const readRows = spliceRows(client, {
    source,
    borders: base.borders,
    keys: located,
    readChunks: (chunks) => base.readChunks(partOf(base.index, chunks)),
    chunkBytes: (at) => base.index.entry(at).rawBytes,
    onChange: (change) => changes.note(change),
    signal,
  });
  try {
    return { ...(await readRuns({ ...reading, readRows })), changes: changes.all() };
  } catch (error) {
    if (!(error instanceof RowsTooLong)) throw error;
    return readRanges();
  }
}

interface Reading extends Omit<TableChange, 'keys' | 'hasRanges'> {
  client: pg.ClientBase;
  runs: readonly ChunkRun[];
  /** In place of reading the ranges. */
  readRows?: ReadRows;
}

async function readRuns({ client, base, source, runs, store, signal, readRows }: Reading): Promise<RebuiltTable> {
  const writer = store.create(base);
  const batcher = new ChunkBatcher(writer);
  try {
    const onChunk = (bytes: Buffer, rowCount: number, lastKey: () => Buffer): Cut => {
      const cut = { lastKey: lastKey() } as Cut;
      batcher.add(bytes, rowCount, (entry) => (cut.entry = entry));
      return cut;
    };
    const read = await cutRuns(client, runs, {
      source,
      borders: base.borders,
      readRows,
      onChunk,
      afterInput: () => batcher.flushIfFull(),
      signal,
    });
    await batcher.finish();
    const index = await writer.commit(replaceChunks(base, read));
    const entries = read.flatMap(({ chunks }) => chunks.map(({ entry }) => entry));
    const rowCount = sum(entries, (entry) => entry.rowCount);
    const readBytes = sum(entries, ({ rawBytes }) => rawBytes);
    describeSpan({ 'waypost.rows': rowCount, 'waypost.raw_bytes': readBytes, 'waypost.read_chunks': countChunks(read) });
    return { index, readRows: rowCount, readBytes };
  } finally {
    await batcher.settle();
    await writer.abort();
  }
}

/** Changed rows, each once, as long as they are not too many. */
class NotedChanges {
  private readonly byKey = new Map<string, RowChange>();
  private bytes = 0;

  note(change: RowChange): void {
    const { key, before, after } = change;
    this.bytes += (before?.length ?? 0) + (after?.length ?? 0);
    if (this.bytes > MAX_NOTED_BYTES) return this.byKey.clear();
    this.byKey.set(key.toString('latin1'), copyRowChange(change));
  }

  /** @returns undefined where they are too many, or cannot be looked up */
  all(): RowChange[] | undefined {
    const changes = [...this.byKey.values()];
    return this.bytes > MAX_NOTED_BYTES || !areFindable(changes) ? undefined : changes;
  }
}

interface Cut {
  lastKey: Buffer;
  /** Once it is stored. */
  entry: ChunkEntry;
}

function partOf(index: ChunkIndex, chunks: readonly number[]): ChunkIndex {
  const part = new ChunkIndexBuilder(index.format);
  for (const at of chunks) part.add(index.entry(at));
  return part.build();
}

function countChunks(runs: readonly ChunkRun[]): number {
  return sum(runs, ({ first, end }) => end - first);
}

function sum<Item>(items: readonly Item[], valueOf: (item: Item) => number): number {
  return items.reduce((total, item) => total + valueOf(item), 0);
}
