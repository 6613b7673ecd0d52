import { type BorderKeys, BorderKeysBuilder } from '@waypost/contracts';
import type pg from 'pg';
import { releaseMemory } from '../system/release-memory.js';
import { ZSTD_SLACK_BYTES } from '../system/zstd.js';
import { columnsOfKeys, type KeyedSource, locateAmong, type LocatedKey, type ReadRows, shapeOf } from './key-ranges.js';
import { rowsQuery } from './key-ranges.sql.js';
import { collectRangeRows, type RangeTaker } from './range-rows.js';

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
export function spliceRows(client: pg.ClientBase, { source, borders, keys, readChunks, chunkBytes, signal }: Splicing): ReadRows {
  const shape = shapeOf(source);
  const last = borders.length - 1;
  const distinct = new Map(keys.map((located) => [located.key.toString('latin1'), located])).values();
  const keysOf = Map.groupBy(distinct, ({ less }) => Math.min(less, last));
  return async (chunks, taker) => {
    for (const group of groupsOf(chunks, keysOf, chunkBytes)) {
      signal?.throwIfAborted();
      const rows = await readRows(
        client,
        source,
        group.flatMap((chunk) => keysOf.get(chunk) ?? []),
        signal,
      );
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

/** Rows by their keys, in Latin-1. */
type Rows = ReadonlyMap<string, Buffer>;

async function readRows(
  client: pg.ClientBase,
  source: KeyedSource,
  keys: readonly LocatedKey[],
  signal: AbortSignal | undefined,
): Promise<Rows> {
  if (keys.length === 0) return new Map();
  const numbers = numbersTo(keys.length);
  const statement = { text: rowsQuery(source), values: [numbers, ...columnsOfKeys(source, keys)] };
  const found = await collectRangeRows(client, statement, { maxBytes: MAX_ROWS_BYTES, signal });
  if (!found) throw new RowsTooLong('Changed rows are too long to be held.');
  const framer = new RowFramer(shapeOf(source));
  const wanted = new Set(keys.map(({ key }) => key.toString('latin1')));
  // Where a key equals another one without having its bytes, its row is found by both, and has changed only if its own key is among them.
  const rows = [...found.values()].map((row) => [framer.keyAt(row, 0), row] as const);
  return new Map(rows.filter(([key]) => wanted.has(key)));
}

/** Tells the chunks that have them where rows with new keys belong. */
async function place(client: pg.ClientBase, source: KeyedSource, chunks: readonly SplicedChunk[], rows: Rows): Promise<void> {
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
    chunk.insert(less - firstRow, rows.get(name) as Buffer);
  }
}

function numbersTo(count: number): number[] {
  return Array.from({ length: count }, (_, at) => at);
}

interface Shape {
  fieldCount: number;
  keyFields: readonly number[];
}

/** Bytes that are replaced. */
interface Edit {
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
    { bytes, shape, keys, rows }: { bytes: Buffer; shape: Shape; keys: readonly LocatedKey[]; rows: Rows },
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
  insert(at: number, row: Buffer): void {
    const start = this.rowStarts[at] ?? this.bytes.length;
    this.edits.push({ start, end: start, row });
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
  private findRows(keys: readonly LocatedKey[], rows: Rows): Set<string> {
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
        const key = framer.key(bytes).toString('latin1');
        if (wanted.has(key)) {
          found.add(key);
          this.edits.push({ start: at, end, row: rows.get(key) });
        }
      }
      at = end;
    }
    return found;
  }
}

/** Finds where binary rows end, and their keys. Rows are whole: they were checked by their digest, or come from PostgreSQL. */
class RowFramer {
  private readonly starts: Int32Array;
  private readonly ends: Int32Array;
  private readonly lastField: number;

  constructor(private readonly shape: Shape) {
    this.starts = new Int32Array(shape.fieldCount);
    this.ends = new Int32Array(shape.fieldCount);
    this.lastField = shape.keyFields.at(-1) as number;
  }

  /** Of the row that was framed last. */
  get keyEnd(): number {
    return this.ends[this.lastField] as number;
  }

  /** @returns where the row ends */
  frame(bytes: Buffer, start: number): number {
    const { starts, ends } = this;
    let at = start + 2;
    for (let field = 0; field < starts.length; field += 1) {
      const length = bytes.readInt32BE(at);
      starts[field] = at;
      at += length > 0 ? 4 + length : 4;
      ends[field] = at;
    }
    return at;
  }

  /** Of the row that was framed last, in the form of BorderKeys. */
  key(bytes: Buffer): Buffer {
    const fields = this.shape.keyFields.map((field) => bytes.subarray(this.starts[field], this.ends[field]));
    return fields.length === 1 ? (fields[0] as Buffer) : Buffer.concat(fields);
  }

  keyAt(bytes: Buffer, start: number): string {
    this.frame(bytes, start);
    return this.key(bytes).toString('latin1');
  }
}
