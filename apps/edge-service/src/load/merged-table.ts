import type { TableShape } from '@waypost/contracts';
import { type CatalogTable, queryPrepared } from '@waypost/runtime';
import type pg from 'pg';
import { FIND_EQUALITY } from './catalog.sql.js';

/** A table whose rows are compared with the local ones; only what differs is written. */
export interface MergedTable {
  table: TableShape;
  local: CatalogTable;
  /** Tells the transaction's temporary tables apart. */
  position: number;
  /** The operator of each key column, by the column's name. */
  equality: ReadonlyMap<string, string>;
  /** All of the manifest's rows, or only what changed; undefined where they are here already, and only retained rows are to be checked. */
  staged: 'all' | 'changes' | undefined;
  /** Earlier cycles retained rows of it. */
  hasRetained: boolean;
}

/** Rows of a table that left the share and stay, since others reference them. */
export interface RetainedRows {
  total: number;
  /** Keys and references of some, for an operator. */
  examples: string;
}

/** Looks up the operators of the key. */
export async function mergedTable(client: pg.ClientBase, shape: Omit<MergedTable, 'equality'>): Promise<MergedTable> {
  const { table, local } = shape;
  const columns = table.key.map((name) => local.columns.find((column) => column.name === name)!);
  const types = columns.map(({ typeOid }) => typeOid);
  const rows = await queryPrepared<{ type: string; operator: string }>(client, 'equality', FIND_EQUALITY, [types]);
  const operators = new Map(rows.map(({ type, operator }) => [Number(type), operator]));
  return { ...shape, equality: new Map(columns.map(({ name, typeOid }) => [name, operators.get(typeOid)!])) };
}
