import { type BorderedIndex, type Manifest, type ManifestTable, parseTableName, quoteTable } from '@waypost/contracts';
import { type CatalogTable, describeTables, findRangeObstacle, type KeyedSource, pinSession } from '@waypost/runtime';
import type pg from 'pg';
import { compareColumns } from '../schema/compare-columns.js';
import { readHeldChunks } from '../state/held-chunks.js';
import { tablesWithRetainedRows } from '../state/retained-rows.js';
import { findDrift } from '../verify/find-drift.js';
import { hashTable, keyedSource, matches } from '../verify/verify-table.js';
import type { Drift } from '../state/record-drift.js';

/** Rows are read in slices of about this much, each in a transaction of its own: no snapshot is held for long. */
const SLICE_BYTES = 16 << 20;
/** Border keys that are remembered: where a sync has replaced the last ones, reading goes on behind an earlier one. */
const REMEMBERED_KEYS = 8;

/** What a slice was. */
export interface Slice {
  chunks: number;
  rows: number;
  rawBytes: number;
  drifts: Drift[];
  /** Behind which the next slice begins; undefined at the table's end. */
  keys: string[] | undefined;
}

/**
 * Reads the next chunks of a table and compares them with those that were verified last, all of one moment. Call it in a REPEATABLE READ transaction. A table
 * whose key ranges cannot be read is read as a whole.
 * @param keys border keys up to which it has been read, in hex
 * @returns undefined where the table is not there, or not as the manifest says: the next cycle tells
 */
export async function readSlice(
  client: pg.ClientBase,
  { tables }: Manifest,
  { table: name, keys, sliceBytes = SLICE_BYTES }: { table: string; keys: readonly string[]; sliceBytes?: number },
  signal: AbortSignal,
): Promise<Slice | undefined> {
  const table = tables.find((candidate) => candidate.name === name);
  const local = table && (await describeTables(client, [parseTableName(name)])).get(quoteTable(parseTableName(name)));
  if (!table || !local || compareColumns(table, local).length > 0) return undefined;
  await pinSession(client);
  const hasRetained = (await tablesWithRetainedRows(client)).has(name);
  const source = keyedSource(table, local, hasRetained);
  const held = (await findRangeObstacle(client, source, local.oid)) === undefined ? await readHeldChunks(client, table) : undefined;
  if (held?.index.totals().sha256 !== table.sha256) return readWhole(client, table, local, { hasRetained, signal });
  const { index } = held;
  const first = placeAfter(held, keys);
  let end = first;
  for (let bytes = 0; end < index.length && bytes < sliceBytes; end += 1) bytes += index.entry(end).rawBytes;
  if (end === first) return { chunks: 0, rows: 0, rawBytes: 0, drifts: [], keys: undefined };
  const { drifted, rows, rawBytes } = await findDrift(client, source, held, { runs: [{ first, end }], signal });
  const drifts = await describeDrifts(client, { name, source, held }, drifted);
  const isEnd = end === index.length;
  return { chunks: end - first, rows, rawBytes, drifts, keys: isEnd ? undefined : [...keys, keyAt(held, end - 1)].slice(-REMEMBERED_KEYS) };
}

async function readWhole(
  client: pg.ClientBase,
  table: ManifestTable,
  local: CatalogTable,
  reading: { hasRetained: boolean; signal: AbortSignal },
): Promise<Slice> {
  const read = await hashTable(client, table, local, reading);
  const { length } = read.chunks.index;
  const { rowCount: rows, rawBytes } = read.chunks.index.totals();
  const drift = { table: table.name, chunks: length, firstKey: null, lastKey: null };
  return { chunks: length, rows, rawBytes, drifts: matches(read, table) ? [] : [drift], keys: undefined };
}

/** A sync may have replaced chunks since: then reading goes on behind an earlier key, or begins again. */
function placeAfter(held: BorderedIndex, keys: readonly string[]): number {
  const places = new Map<string, number>();
  if (keys.length > 0) for (let at = 0; at < held.borders.length; at += 1) places.set(keyAt(held, at), at);
  const last = keys.findLast((key) => places.has(key));
  return last === undefined ? 0 : places.get(last)! + 1;
}

function keyAt({ borders }: BorderedIndex, at: number): string {
  return borders.key(at).toString('hex');
}

/** Neighbours are told as one. */
async function describeDrifts(
  client: pg.ClientBase,
  { name, source, held }: { name: string; source: KeyedSource; held: BorderedIndex },
  places: readonly number[],
): Promise<Drift[]> {
  const drifts: Drift[] = [];
  for (let at = 0; at < places.length;) {
    const first = places[at] as number;
    let end = first + 1;
    for (at += 1; places[at] === end; at += 1) end += 1;
    const isLast = end === held.borders.length;
    const [firstKey, lastKey] = [
      first === 0 ? null : await keyText(client, source, held, first - 1),
      isLast ? null : await keyText(client, source, held, end - 1),
    ];
    drifts.push({ table: name, chunks: end - first, firstKey, lastKey });
  }
  return drifts;
}

/** PostgreSQL writes the key: its bytes are in binary form. */
async function keyText(client: pg.ClientBase, { keyColumns }: KeyedSource, { borders }: BorderedIndex, at: number): Promise<string> {
  const values = keyColumns.map((_, field) => borders.column(field, [at])[0]!.subarray(4));
  const list = keyColumns.map(({ type }, field) => `CAST($${field + 1} AS ${type})::pg_catalog.text`).join(', ');
  const { rows } = await client.query<string[]>({ text: `SELECT ${list}`, values, rowMode: 'array' });
  return rows[0]!.join(', ');
}
