import {
  BorderKeys,
  BorderKeysBuilder,
  type BorderedIndex,
  type ChunkEntry,
  ChunkIndexBuilder,
  type ManifestTable,
  WaypostError,
} from '@waypost/contracts';
import { queryPrepared } from '@waypost/runtime';
import type pg from 'pg';
import { READ_PARTS, WRITE_PARTS } from './held-chunks.sql.js';

/** Chunks in a part, so that a row of the table stays below 2 KB and is not moved out of line. */
const PART_CHUNKS = 32;
/** A part that grows to more is divided, with all that follow. */
const MAX_PART_CHUNKS = 3 * PART_CHUNKS;
const DIGEST_BYTES = 32;
const ENTRY_BYTES = DIGEST_BYTES + 8;

/** A row of waypost.edge_table_chunks: consecutive chunks. Positions grow with the parts; there may be gaps. */
interface Part {
  position: number;
  /** Places of its chunks: from `first` to before `end`. */
  first: number;
  end: number;
}

/** A table's chunks as they were when its rows were last read back and hashed here. */
export interface HeldChunks extends BorderedIndex {
  /** How they are stored. */
  parts: readonly Part[];
}

/** These chunks, by their places, were replaced by so many others. */
export interface ReplacedRun {
  first: number;
  end: number;
  chunks: readonly unknown[];
}

/** A table's chunks as they are now. */
export interface CurrentChunks {
  chunks: BorderedIndex;
  /** What was stored before, where only so much of it was replaced. */
  changed?: { before: HeldChunks | undefined; runs: readonly ReplacedRun[] };
}

/**
 * Reads the chunks of a table as they are stored. Compare their hash with what the device is known to hold before you rely on them.
 * @returns undefined where there are none
 * @throws WaypostError CHUNK_CORRUPT where they are damaged
 */
export async function readHeldChunks(
  client: pg.ClientBase,
  { name, format }: Pick<ManifestTable, 'name' | 'format'>,
): Promise<HeldChunks | undefined> {
  const rows = await queryPrepared<{ position: number; chunks: Buffer; keys: Buffer }>(client, 'chunks', READ_PARTS, [name]);
  const [first] = rows;
  if (!first) return undefined;
  const index = new ChunkIndexBuilder(format);
  const borders = new BorderKeysBuilder(BorderKeys.decode(first.keys).keyFields);
  const parts: Part[] = [];
  let end = 0;
  for (const { position, chunks, keys } of rows) {
    const partKeys = BorderKeys.decode(keys);
    if (chunks.length !== partKeys.length * ENTRY_BYTES)
      throw new WaypostError('CHUNK_CORRUPT', { detail: `The stored chunks of ${name} are damaged.` });
    for (let at = 0; at < partKeys.length; at += 1) {
      index.add(entryAt(chunks, at * ENTRY_BYTES));
      borders.add(partKeys.key(at));
    }
    parts.push({ position, first: end, end: end + partKeys.length });
    end += partKeys.length;
  }
  return { index: index.build(), borders: borders.build(), parts };
}

/**
 * Stores a table's chunks in the current transaction. Where it is known what was replaced, only the parts that it lies in are written.
 */
export async function writeHeldChunks(client: pg.ClientBase, name: string, { chunks, changed }: CurrentChunks): Promise<void> {
  const { written, kept } = changed?.before
    ? partsOf(changed.before.parts, changed.runs)
    : { written: divide(0, chunks.index.length, 0), kept: [] };
  const encoded = written.map((part) => encodePart(chunks, part));
  await queryPrepared(client, 'write-chunks', WRITE_PARTS, [
    name,
    kept.map(({ position }) => position),
    written.map(({ position }) => position),
    encoded.map((part) => part.chunks),
    encoded.map((part) => part.keys),
  ]);
}

/** Which parts are to be written after the replacement, and which stay as they are. @param runs in order */
export function partsOf(before: readonly Part[], runs: readonly ReplacedRun[]): { written: Part[]; kept: Part[] } {
  /** What the places of later chunks have moved by, and where the last run ended: a part that it goes into begins behind it. */
  let [next, moved, reach, first] = [0, 0, 0, 0];
  const parts: (Part & { isTouched: boolean })[] = [];
  for (const part of before) {
    let isTouched = reach > part.first;
    for (let run = runs[next]; run && run.first < part.end; run = runs[(next += 1)]) {
      moved += run.chunks.length - (run.end - run.first);
      reach = run.end;
      isTouched = true;
    }
    const end = Math.max(part.end, reach) + moved;
    if (end > first) parts.push({ position: part.position, first, end, isTouched });
    first = end;
  }
  const long = parts.findIndex((part) => part.end - part.first > MAX_PART_CHUNKS);
  const divided = long < 0 ? [] : divide(parts[long]!.first, first, parts[long]!.position);
  const rest = long < 0 ? parts : parts.slice(0, long);
  return { written: [...rest.filter(({ isTouched }) => isTouched), ...divided], kept: rest.filter(({ isTouched }) => !isTouched) };
}

function divide(first: number, end: number, position: number): Part[] {
  const parts: Part[] = [];
  for (let at = first; at < end; at += PART_CHUNKS)
    parts.push({ position: position + parts.length, first: at, end: Math.min(at + PART_CHUNKS, end) });
  return parts;
}

function encodePart({ index, borders }: BorderedIndex, { first, end }: Part): { chunks: Buffer; keys: Buffer } {
  const chunks = Buffer.alloc((end - first) * ENTRY_BYTES);
  const keys = new BorderKeysBuilder(borders.keyFields);
  for (let at = first; at < end; at += 1) {
    const { digest, rowCount, rawBytes } = index.entry(at);
    const start = (at - first) * ENTRY_BYTES;
    digest.copy(chunks, start);
    chunks.writeUInt32BE(rowCount, start + DIGEST_BYTES);
    chunks.writeUInt32BE(rawBytes, start + DIGEST_BYTES + 4);
    keys.add(borders.key(at));
  }
  return { chunks, keys: keys.build().encode() };
}

/** A chunk that is in the database has no frame. */
function entryAt(chunks: Buffer, start: number): ChunkEntry {
  const digest = chunks.subarray(start, start + DIGEST_BYTES);
  return {
    digest,
    rowCount: chunks.readUInt32BE(start + DIGEST_BYTES),
    rawBytes: chunks.readUInt32BE(start + DIGEST_BYTES + 4),
    frameBytes: 0,
  };
}
