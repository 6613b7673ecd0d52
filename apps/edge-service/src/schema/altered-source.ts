import type { TableShape } from '@waypost/contracts';
import type { CatalogTable } from '@waypost/runtime';
import type pg from 'pg';
import { type Alteration, alteredSource } from './alteration.js';

/**
 * Where to read a table's rows as its alterations will leave them, before any of it is done.
 * @returns undefined where PostgreSQL cannot tell yet: a type or a label is still to be made
 */
export async function findAlteredSource(
  client: pg.ClientBase,
  table: TableShape,
  local: CatalogTable,
  alterations: readonly Alteration[],
): Promise<{ from: string; alias: string } | undefined> {
  const source = alteredSource(table, local, alterations);
  await client.query('SAVEPOINT altered');
  try {
    // Constants are computed when it is planned.
    await client.query(`EXPLAIN SELECT * FROM ${source.from}`);
    return source;
  } catch {
    await client.query('ROLLBACK TO altered');
    return undefined;
  }
}
