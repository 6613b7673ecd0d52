import { queryAt } from './edge.js';

/** All rows of each table, as PostgreSQL prints them, sorted: two databases hold the same if these are equal. */
export async function tableRows(url: string, tables: readonly string[]): Promise<Record<string, string[]>> {
  const rows: Record<string, string[]> = {};
  for (const table of tables)
    rows[table] = (await queryAt<{ row: string }>(url, `SELECT t::text AS row FROM ${table} AS t ORDER BY 1`)).map(({ row }) => row);
  return rows;
}
