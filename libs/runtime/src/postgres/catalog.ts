import { type ManifestColumn, quoteTable, type TableIdentifier } from '@waypost/contracts';
import type pg from 'pg';
import { DESCRIBE_TABLES } from './catalog.sql.js';
import { queryPrepared } from './query.js';
import { type KeyOrder, TypeCatalog } from './type-catalog.js';

export interface CatalogColumn extends ManifestColumn {
  /** `GENERATED ALWAYS AS (…)`: computed by PostgreSQL, cannot be loaded. */
  generated: boolean;
  collatable: boolean;
  /** As SQL names it, where it is not the type's own; else null. */
  collation: string | null;
  /** `GENERATED ALWAYS AS IDENTITY`: can be inserted, never updated. */
  identityAlways: boolean;
  typeOid: number;
  /** Its order as part of a key. */
  keyOrder: KeyOrder;
}

/** A table or view as PostgreSQL's catalog describes it. */
export interface CatalogTable extends TableIdentifier {
  oid: number;
  kind: 'table' | 'partitioned' | 'view' | 'materialized view' | 'foreign' | 'other';
  persistence: 'permanent' | 'unlogged' | 'temporary';
  rowSecurity: boolean;
  /** False for a materialized view that was never refreshed. */
  populated: boolean;
  /** Other tables inherit from it, so its unique indexes do not cover all of its rows. */
  hasHeirs: boolean;
  /** Partitions and inheriting tables that are foreign or do not survive a crash, as SQL names them. */
  unsafeParts: string[];
  /** In the table's order, dropped ones left out. */
  columns: CatalogColumn[];
  /** Empty without a primary key. */
  primaryKey: string[];
  /** Columns of unique indexes over all rows; each of these columns is NOT NULL. */
  uniqueKeys: string[][];
}

interface TableRow extends TableIdentifier {
  oid: string;
  kind: string;
  persistence: string;
  row_security: boolean;
  populated: boolean;
  has_heirs: boolean;
  unsafe_parts: string[];
  columns: Omit<CatalogColumn, 'keyOrder'>[];
  primary_key: string[];
  unique_keys: string[][];
}

const KINDS: Record<string, CatalogTable['kind']> = {
  r: 'table',
  p: 'partitioned',
  v: 'view',
  m: 'materialized view',
  f: 'foreign',
};

/**
 * Describes the tables that exist, in the current transaction. Leaves search_path at pg_catalog, so that every other type is printed
 * with its schema: pin the session again before reading rows.
 * @returns by quoteTable name
 */
export async function describeTables(client: pg.ClientBase, tables: readonly TableIdentifier[]): Promise<Map<string, CatalogTable>> {
  await client.query('SET LOCAL search_path = pg_catalog; SET LOCAL quote_all_identifiers = off');
  const rows = await queryPrepared<TableRow>(client, 'tables', DESCRIBE_TABLES, [tables.map((t) => t.schema), tables.map((t) => t.table)]);
  const types = await TypeCatalog.read(
    client,
    rows.flatMap(({ columns }) => columns.map(({ typeOid }) => typeOid)),
  );
  const described = rows.map((row): CatalogTable => ({
    oid: Number(row.oid),
    schema: row.schema,
    table: row.table,
    kind: KINDS[row.kind] ?? 'other',
    persistence: row.persistence === 'u' ? 'unlogged' : row.persistence === 't' ? 'temporary' : 'permanent',
    rowSecurity: row.row_security,
    populated: row.populated,
    hasHeirs: row.has_heirs,
    unsafeParts: row.unsafe_parts,
    columns: row.columns.map((column) => ({ ...column, keyOrder: types.keyOrder(column.typeOid, column.collatable) })),
    primaryKey: row.primary_key,
    uniqueKeys: row.unique_keys,
  }));
  return new Map(described.map((table) => [quoteTable(table), table]));
}

/** The type oids of all columns of tables. */
export function typesOf(tables: Iterable<Pick<CatalogTable, 'columns'>>): number[] {
  return [...tables].flatMap(({ columns }) => columns.map(({ typeOid }) => typeOid));
}
