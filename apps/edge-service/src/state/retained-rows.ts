import { type TableShape, quoteIdentifier } from '@waypost/contracts';
import pg from 'pg';

/**
 * Rows of mirrored tables that left the device's share, but that rows of the device's own still reference (`onReferenced: keep`). They are
 * beside the mirror: a comparison with a manifest leaves them out.
 */
export const RETAINED_ROWS = 'waypost.edge_kept_rows';

/** A row's key as text, in a pinned session. */
export function keyText(alias: string, key: readonly string[]): string {
  return `ROW(${key.map((column) => `${alias}.${quoteIdentifier(column)}`).join(', ')})::pg_catalog.text`;
}

/** SQL condition: the row is not a retained one. */
export function isNotRetained(alias: string, { name, key }: Pick<TableShape, 'name' | 'key'>): string {
  return `NOT EXISTS (SELECT FROM ${RETAINED_ROWS} AS retained WHERE retained.table_name = ${pg.escapeLiteral(name)} AND retained.row_key = ${keyText(alias, key)})`;
}

/** Names of the tables that have retained rows. */
export async function tablesWithRetainedRows(client: pg.ClientBase): Promise<Set<string>> {
  const { rows } = await client.query<{ name: string }>(`SELECT DISTINCT table_name AS name FROM ${RETAINED_ROWS}`);
  return new Set(rows.map(({ name }) => name));
}
