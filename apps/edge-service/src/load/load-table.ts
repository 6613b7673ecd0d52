import { type ManifestTable, parseTableName, quoteIdentifier, quoteTable } from '@waypost/contracts';
import { type CatalogTable, copyIn } from '@waypost/runtime';
import type pg from 'pg';
import type { SpooledTable } from '../download/spooled-table.js';
import { copyDataOf } from './copy-data.js';

/** Streams a spooled table into the local one, which this very transaction created or truncated. Memory holds a few chunks. */
export async function loadTable(client: pg.ClientBase, table: ManifestTable, local: CatalogTable, spooled: SpooledTable): Promise<void> {
  await copyIn(client, copyInStatement(table, local), copyDataOf(spooled, table.format));
}

/** FREEZE spares a later pass over all rows; PostgreSQL refuses it for partitioned tables. */
function copyInStatement({ name, columns, format }: ManifestTable, local: CatalogTable): string {
  const names = columns.map((column) => quoteIdentifier(column.name)).join(', ');
  const freeze = local.kind === 'table' ? ', FREEZE' : '';
  return `COPY ${quoteTable(parseTableName(name))} (${names}) FROM STDIN (FORMAT ${format}${freeze})`;
}

/**
 * One TRUNCATE for all: PostgreSQL then accepts foreign keys among them. Never CASCADE: it would empty tables that are not ours. ONLY
 * leaves the rows of inheriting tables alone, which then fail verification rather than vanish.
 */
export function truncateStatement(tables: readonly ManifestTable[], locals: ReadonlyMap<string, CatalogTable>): string {
  return `TRUNCATE ${emptied(tables, locals)} RESTART IDENTITY`;
}

/** The locks that TRUNCATE needs. */
export function lockStatement(tables: readonly ManifestTable[], locals: ReadonlyMap<string, CatalogTable>): string {
  return `LOCK TABLE ${emptied(tables, locals)} IN ACCESS EXCLUSIVE MODE`;
}

function emptied(tables: readonly ManifestTable[], locals: ReadonlyMap<string, CatalogTable>): string {
  return tables.map(({ name }) => `${locals.get(name)?.kind === 'table' ? 'ONLY ' : ''}${quoteTable(parseTableName(name))}`).join(', ');
}
