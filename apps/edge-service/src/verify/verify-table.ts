import {
  BorderKeysBuilder,
  type BorderedIndex,
  type ChunkEntry,
  ChunkIndexBuilder,
  keyFieldsOf,
  type ManifestTable,
  parseTableName,
  quoteIdentifier,
  quoteTable,
  type ReplacedChunks,
  replaceChunks,
  sha256,
  type TableShape,
  WaypostError,
} from '@waypost/contracts';
import {
  type CatalogTable,
  canonicalQuery,
  type ChunkRun,
  cutRuns,
  describeSpan,
  faultPoint,
  type KeyedSource,
  keyOrdersOf,
  readChunks,
  statementOf,
} from '@waypost/runtime';
import type pg from 'pg';
import type { HeldChunks, ReplacedRun } from '../state/held-chunks.js';
import { isNotRetained } from '../state/retained-rows.js';

/** What a table really holds. */
export interface TableFacts {
  rowCount: number;
  sha256: string;
}

/** A table as it was read back. */
export interface ReadTable extends TableFacts {
  chunks: BorderedIndex;
}

/** A table that was read back, and is as the manifest says. */
export interface VerifiedTable extends ReadTable {
  /** Where only the key ranges of some chunks were read back: what was stored of it before, if that is what they are part of, which chunks were replaced, how many rows differed, and the length of the new chunks. */
  changed?: { before: HeldChunks | undefined; runs: readonly ReplacedRun[]; rows: number; rawBytes: number };
}

interface Reading {
  /** The table has retained rows, which are not part of the mirror. */
  hasRetained: boolean;
  /** Rows were written here and there: they do not lie in key order. */
  merged?: boolean;
  /** What stands for the table in FROM, and names its row: the table itself without it. */
  source?: { from: string; alias: string };
  signal?: AbortSignal;
}

/**
 * Reads a local table back and hashes it as central did.
 *
 * First in the order in which the rows lie on disk: rows that were loaded in key order into an empty table come back in that order, and
 * such a scan is far cheaper than one through the key's index. Where that does not give the expected hash, the rows are read once more
 * in key order, and this decides. The shortcut cannot pass a wrong table: whatever path the rows take, the hash covers each of their bytes and
 * their order, so equal hashes mean that the table holds exactly the manifest's rows.
 *
 * Call it in a transaction with pinned session.
 */
export async function hashTable(
  client: pg.ClientBase,
  table: ManifestTable,
  local: CatalogTable,
  { hasRetained, merged = false, source: from, signal }: Reading,
): Promise<ReadTable> {
  const source = keyedSource(table, local, hasRetained, from);
  if (!merged) {
    const columns = table.columns.map(({ name }) => quoteIdentifier(name)).join(', ');
    const filter = source.where === undefined ? '' : ` WHERE ${source.where}`;
    const asStored = await hashRows(client, `SELECT ${columns} FROM ${source.table}${filter}`, table, signal);
    if (matches(asStored, table)) return asStored;
  }
  return hashRows(client, canonicalQuery(source), table, signal);
}

/**
 * Reads back only the key ranges of some chunks, hashes them, and takes all others as they are held: what that says of the table is true if no row outside of
 * those ranges was written since. Call it as hashTable.
 * @param held as of the table's last reading
 * @param runs in order
 */
export async function hashRuns(
  client: pg.ClientBase,
  source: KeyedSource,
  held: BorderedIndex,
  runs: readonly ChunkRun[],
): Promise<ReadTable & { replaced: readonly ReplacedChunks[] }> {
  const replaced = await cutRuns(client, runs, {
    source,
    borders: held.borders,
    onChunk: (bytes, rowCount, lastKey) => ({ entry: entryOf(bytes, rowCount), lastKey: lastKey() }),
    afterInput,
  });
  const chunks = replaceChunks(held, replaced);
  const { rowCount, sha256: hash } = chunks.index.totals();
  return { rowCount, sha256: hash, chunks, replaced };
}

/** A local table's rows, as far as they are the mirror's. @param source what stands for the table in FROM, and names its row */
export function keyedSource(
  table: TableShape,
  local: CatalogTable,
  hasRetained: boolean,
  source?: { from: string; alias: string },
): KeyedSource {
  const name = quoteTable(parseTableName(table.name));
  return {
    layout: table,
    table: source?.from ?? name,
    keyOrders: keyOrdersOf(local.columns),
    where: hasRetained ? isNotRetained(source?.alias ?? name, table) : undefined,
    keyColumns: table.key.map((key) => local.columns.find((column) => column.name === key)!),
  };
}

/** VERIFICATION_FAILED of a table that does not hold what the manifest says. */
export function mismatch(facts: TableFacts, table: ManifestTable, hint?: string): WaypostError {
  return new WaypostError('VERIFICATION_FAILED', {
    detail: `${table.name} holds ${facts.rowCount} rows with sha256 ${facts.sha256}, the manifest says ${table.rowCount} with ${table.sha256}.`,
    ...(hint !== undefined && { hint }),
  });
}

export function matches(facts: TableFacts, table: ManifestTable): boolean {
  return facts.sha256 === table.sha256 && facts.rowCount === table.rowCount;
}

async function hashRows(client: pg.ClientBase, query: string, layout: ManifestTable, signal?: AbortSignal): Promise<ReadTable> {
  describeSpan(statementOf(query));
  const index = new ChunkIndexBuilder(layout.format);
  const borders = new BorderKeysBuilder(keyFieldsOf(layout));
  const onChunk = (bytes: Buffer, rows: number, lastKey: () => Buffer): void => {
    index.add(entryOf(bytes, rows));
    borders.add(lastKey());
  };
  await readChunks(client, { query, layout, onChunk, afterInput, signal });
  const chunks = { index: index.build(), borders: borders.build() };
  const { rowCount, sha256: hash } = chunks.index.totals();
  return { rowCount, sha256: hash, chunks };
}

const afterInput = (): Promise<void> | undefined => faultPoint('edge.mid-verify');

/** Chunks in a database have no frames. */
function entryOf(bytes: Buffer, rowCount: number): ChunkEntry {
  return { digest: sha256(bytes), rowCount, rawBytes: bytes.length, frameBytes: 0 };
}
