import { type BorderKeys, BorderKeysBuilder, type RowChange, RowFramer, type RowShape } from '@waypost/contracts';
import type pg from 'pg';
import { releaseMemory } from '../system/release-memory.js';
import { ZSTD_SLACK_BYTES } from '../system/zstd.js';
import { columnsOfKeys, type KeyedSource, locateAmong, type LocatedKey, type ReadRows, shapeOf } from './key-ranges.js';
import type { RangeTaker } from './range-rows.js';
import { readRowsByKey, type RowsByKey } from './rows-by-key.js';

interface Splicing {
  source: KeyedSource;
  /** Of the table's chunks as they were. */
  borders: BorderKeys;
  /** Of all rows that may have changed since. */
  keys: readonly LocatedKey[];
  /** Canonical bytes of chunks as they were, in order; their memory is released. @param chunks places, ascending */
  readChunks: (chunks: readonly number[]) => AsyncIterable<Buffer>;
  /** Length of one. */
  chunkBytes: (chunk: number) => number;
  /** Takes each row that comes, changes or goes; its views are valid during the call. It may be called again for the same row. */
  onChange?: ((change: RowChange) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** Chunks that are in memory together, unless one is longer, and keys whose rows are. */
const GROUP = { bytes: 4 << 20, keys: 256 };
/** Rows of a group's keys may be as long as this together. */
const MAX_ROWS_BYTES = 8 << 20;

/** The rows of a few keys are too long to hold them: read the ranges, whose rows pass one by one. The connection is as it was. */
export class RowsTooLong extends Error {}

/**
 * Gives the rows of key ranges without reading them: rows with one of the keys as they are now in the database, all others from the chunks as they were.
 * That is what reading would give, provided that no other row has changed. Node compares keys for equality alone, byte by byte; where a row with a new key belongs
 * among the others PostgreSQL says.
 *
 * The client must be in a transaction with pinned session; an error closes it, but for RowsTooLong.
 */
export function spliceRows(client: pg.ClientBase, { source, borders, keys, readChunks, chunkBytes, onChange, signal }: Splicing): ReadRows {
  const shape = shapeOf(source);
  const last = borders.length - 1;
  const distinct = new Map(keys.map((located) => [located.key.toString('latin1'), located])).values();
  const keysOf = Map.groupBy(distinct, ({ less }) => Math.min(less, last));
  return async (chunks, taker) => {
    for (const group of groupsOf(chunks, keysOf, chunkBytes)) {
      signal?.throwIfAborted();
      const keysOfGroup = group.flatMap((chunk) => keysOf.get(chunk) ?? []);
      const rows = await readRowsByKey(client, source, keysOfGroup, { maxBytes: MAX_ROWS_BYTES, signal });
      if (!rows) throw new RowsTooLong('Changed rows are too long to be held.');
      const spliced: SplicedChunk[] = [];
      for await (const bytes of readChunks(group)) {
        const chunk = group[spliced.length] as number;
        spliced.push(new SplicedChunk(chunk, { bytes, shape, keys: keysOf.get(chunk) ?? [], rows }));
      }
      await place(
        client,
        source,
        spliced.filter(({ added }) => added.length > 0),
        rows,
      );
      for (const chunk of spliced) {
        if (onChange) chunk.tell(onChange);
        chunk.give(taker);
        chunk.release();
        await taker.afterInput?.();
      }
    }
  };
}

function* groupsOf(
  chunks: readonly number[],
  keysOf: ReadonlyMap<number, LocatedKey[]>,
  chunkBytes: (chunk: number) => number,
): Generator<number[]> {
  let group: number[] = [];
  let [bytes, keys] = [0, 0];
  for (const chunk of chunks) {
    const [more, moreKeys] = [chunkBytes(chunk), keysOf.get(chunk)?.length ?? 0];
    if (group.length > 0 && (bytes + more > GROUP.bytes || keys + moreKeys > GROUP.keys)) {
      yield group;
      group = [];
      [bytes, keys] = [0, 0];
    }
    group.push(chunk);
    bytes += more;
    keys += moreKeys;
  }
  if (group.length > 0) yield group;
}

/** Tells the chunks that have them where rows with new keys belong. */
async function place(client: pg.ClientBase, source: KeyedSource, chunks: readonly SplicedChunk[], rows: RowsByKey): Promise<void> {
  if (chunks.length === 0) return;
  const present = new BorderKeysBuilder(shapeOf(source).keyFields);
  const chunkOf = new Map<string, { chunk: SplicedChunk; firstRow: number }>();
  let count = 0;
  for (const chunk of chunks) {
    for (const { key } of chunk.added) chunkOf.set(key.toString('latin1'), { chunk, firstRow: count });
    for (const key of chunk.keysOfRows()) present.add(key);
    count += chunk.rowStarts.length;
  }
  const added = chunks.flatMap((chunk) => chunk.added);
  for (const { key, less } of await locateAmong(
    client,
    source,
    { borders: present.build(), chunks: numbersTo(count) },
    columnsOfKeys(source, added),
  )) {
    const name = key.toString('latin1');
    const { chunk, firstRow } = chunkOf.get(name) as { chunk: SplicedChunk; firstRow: number };
    chunk.insert(less - firstRow, key, rows.get(name) as Buffer);
  }
}

function numbersTo(count: number): number[] {
  return Array.from({ length: count }, (_, at) => at);
}

/** Bytes that are replaced. */
interface Edit {
  key: Buffer;
  start: number;
  end: number;
  row: Buffer | undefined;
}

/** A chunk as it was, and what becomes of it. */
class SplicedChunk {
  /** Keys of rows that it has now and had not. */
  readonly added: LocatedKey[];
  rowStarts: number[] = [];
  private readonly bytes: Buffer;
  private readonly framer: RowFramer;
  private readonly edits: Edit[] = [];

  constructor(
    private readonly chunk: number,
    { bytes, shape, keys, rows }: { bytes: Buffer; shape: RowShape; keys: readonly LocatedKey[]; rows: RowsByKey },
  ) {
    this.bytes = bytes;
    this.framer = new RowFramer(shape);
    const found = this.findRows(keys, rows);
    this.added = keys.filter(({ key }) => !found.has(key.toString('latin1')) && rows.has(key.toString('latin1')));
  }

  /** The key of each row, in order; sets rowStarts. */
  *keysOfRows(): Generator<Buffer> {
    for (let at = 0; at < this.bytes.length;) {
      this.rowStarts.push(at);
      const end = this.framer.frame(this.bytes, at);
      yield this.framer.key(this.bytes);
      at = end;
    }
  }

  /** In the order of their keys. @param at before which row */
  insert(at: number, key: Buffer, row: Buffer): void {
    const start = this.rowStarts[at] ?? this.bytes.length;
    this.edits.push({ key, start, end: start, row });
  }

  tell(onChange: (change: RowChange) => void): void {
    for (const { key, start, end, row: after } of this.edits) {
      const before = start < end ? this.bytes.subarray(start, end) : undefined;
      if (!before || !after?.equals(before)) onChange({ key, ...(before && { before }), ...(after && { after }) });
    }
  }

  give({ onRows }: RangeTaker): void {
    let from = 0;
    // What comes before a row comes before what replaces it; the sort is stable.
    for (const { start, end, row } of this.edits.sort((one, other) => one.start - other.start || one.end - other.end)) {
      if (start > from) onRows(this.chunk, this.bytes.subarray(from, start));
      if (row) onRows(this.chunk, row);
      from = end;
    }
    if (from < this.bytes.length) onRows(this.chunk, this.bytes.subarray(from));
  }

  release(): void {
    releaseMemory(this.bytes, ZSTD_SLACK_BYTES);
  }

  /** Rows with one of the keys are replaced by what they are now. @returns the keys that were found */
  private findRows(keys: readonly LocatedKey[], rows: RowsByKey): Set<string> {
    const found = new Set<string>();
    if (keys.length === 0) return found;
    const wanted = new Set(keys.map(({ key }) => key.toString('latin1')));
    /** Most rows differ in the last byte of their key from all keys that are looked for. */
    const isLast = new Uint8Array(256);
    for (const { key } of keys) isLast[key[key.length - 1] as number] = 1;
    const { bytes, framer } = this;
    for (let at = 0; at < bytes.length;) {
      const end = framer.frame(bytes, at);
      if (isLast[bytes[framer.keyEnd - 1] as number] === 1) {
        const key = framer.key(bytes);
        const name = key.toString('latin1');
        if (wanted.has(name)) {
          found.add(name);
          this.edits.push({ key, start: at, end, row: rows.get(name) });
        }
      }
      at = end;
    }
    return found;
  }
}
