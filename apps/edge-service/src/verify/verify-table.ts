import { createHash } from 'node:crypto';
import { type ManifestTable, parseTableName, quoteIdentifier, quoteTable, sha256, WaypostError } from '@waypost/contracts';
import { type CatalogTable, canonicalQuery, describeSpan, faultPoint, keyOrdersOf, readChunks, statementOf } from '@waypost/runtime';
import type pg from 'pg';
import { isNotRetained } from '../state/retained-rows.js';

/** What a table really holds. */
export interface TableFacts {
  rowCount: number;
  sha256: string;
}

interface Reading {
  /** The table has retained rows, which are not part of the mirror. */
  hasRetained: boolean;
  /** Rows were written here and there: they do not lie in key order. */
  merged?: boolean;
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
  { hasRetained, merged = false, signal }: Reading,
): Promise<TableFacts> {
  const source = quoteTable(parseTableName(table.name));
  const where = hasRetained ? isNotRetained(source, table) : undefined;
  if (!merged) {
    const columns = table.columns.map(({ name }) => quoteIdentifier(name)).join(', ');
    const asStored = await hashRows(client, `SELECT ${columns} FROM ${source}${where ? ` WHERE ${where}` : ''}`, table, signal);
    if (matches(asStored, table) || asStored.rowCount !== table.rowCount) return asStored;
  }
  return hashRows(client, canonicalQuery({ layout: table, table: source, keyOrders: keyOrdersOf(local.columns), where }), table, signal);
}

/** @throws WaypostError VERIFICATION_FAILED when the table does not hold what the manifest says */
export function assertMatches(facts: TableFacts, table: ManifestTable, hint?: string): void {
  if (matches(facts, table)) return;
  throw new WaypostError('VERIFICATION_FAILED', {
    detail: `${table.name} holds ${facts.rowCount} rows with sha256 ${facts.sha256}, the manifest says ${table.rowCount} with ${table.sha256}.`,
    ...(hint !== undefined && { hint }),
  });
}

export function matches(facts: TableFacts, table: ManifestTable): boolean {
  return facts.sha256 === table.sha256 && facts.rowCount === table.rowCount;
}

async function hashRows(client: pg.ClientBase, query: string, layout: ManifestTable, signal?: AbortSignal): Promise<TableFacts> {
  describeSpan(statementOf(query));
  const hasher = createHash('sha256');
  let rowCount = 0;
  const onChunk = (bytes: Buffer, rows: number): void => {
    hasher.update(sha256(bytes));
    rowCount += rows;
  };
  const afterInput = (): Promise<void> | undefined => faultPoint('edge.mid-verify');
  await readChunks(client, { query, layout, onChunk, afterInput, signal });
  return { rowCount, sha256: hasher.digest('hex') };
}
