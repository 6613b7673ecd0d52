import { type TableShape, parseTableName, quoteIdentifier, quoteTable } from '@waypost/contracts';
import { type CatalogTable, copyIn, describeSpan, statementOf } from '@waypost/runtime';
import type pg from 'pg';
import type { ChunkSource } from '../chunk-source/chunk-source.js';
import { copyDataOf } from './copy-data.js';

interface EmptyTable {
  table: TableShape;
  local: CatalogTable;
  /** Created or truncated by this very transaction: no other transaction sees its rows before COMMIT, however they are marked. */
  isNew: boolean;
}

/** Streams a spooled table into the local one, which is empty. Memory holds a few chunks. @returns how many rows it took */
export async function loadTable(client: pg.ClientBase, empty: EmptyTable, spooled: ChunkSource): Promise<number> {
  const statement = copyInStatement(empty);
  describeSpan(statementOf(statement));
  return copyIn(client, statement, copyDataOf(spooled, empty.table.format));
}

/** FREEZE spares a later pass over all rows; PostgreSQL refuses it for partitioned tables, and for tables that others see. */
function copyInStatement({ table: { name, columns, format }, local, isNew }: EmptyTable): string {
  const names = columns.map((column) => quoteIdentifier(column.name)).join(', ');
  const freeze = isNew && local.kind === 'table' ? ', FREEZE' : '';
  return `COPY ${quoteTable(parseTableName(name))} (${names}) FROM STDIN (FORMAT ${format}${freeze})`;
}

/**
 * One TRUNCATE for all: PostgreSQL then accepts foreign keys among them. Never CASCADE: it would empty tables that are not ours. ONLY
 * leaves the rows of inheriting tables alone, which then fail verification rather than vanish.
 */
export function truncateStatement(tables: readonly TableShape[], locals: ReadonlyMap<string, CatalogTable>): string {
  return `TRUNCATE ${onlyTables(tables, locals)} RESTART IDENTITY`;
}

/** The locks that TRUNCATE needs. */
export function lockStatement(tables: readonly TableShape[], locals: ReadonlyMap<string, CatalogTable>): string {
  return `LOCK TABLE ${onlyTables(tables, locals)} IN ACCESS EXCLUSIVE MODE`;
}

/** Keeps writers out until COMMIT, readers and the checks of local foreign keys not. */
export function lockWritersStatement(tables: readonly TableShape[], locals: ReadonlyMap<string, CatalogTable>): string {
  return `LOCK TABLE ${onlyTables(tables, locals)} IN SHARE ROW EXCLUSIVE MODE`;
}

function onlyTables(tables: readonly TableShape[], locals: ReadonlyMap<string, CatalogTable>): string {
  return tables.map(({ name }) => `${locals.get(name)?.kind === 'table' ? 'ONLY ' : ''}${quoteTable(parseTableName(name))}`).join(', ');
}
