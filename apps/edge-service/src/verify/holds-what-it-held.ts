import type { ManifestTable } from '@waypost/contracts';
import { type CatalogTable, pinSession } from '@waypost/runtime';
import type pg from 'pg';
import { hashTable, matches } from './verify-table.js';

/**
 * Whether a local table has exactly the columns and the rows that a manifest said of it. Reads all of it; call it in a transaction, whose settings stay as they are.
 */
export async function holdsWhatItHeld(client: pg.ClientBase, contents: ManifestTable, local: CatalogTable): Promise<boolean> {
  if (!hasColumns(contents, local)) return false;
  await client.query('SAVEPOINT proving');
  await pinSession(client);
  const facts = await hashTable(client, contents, local, { hasRetained: false });
  await client.query('ROLLBACK TO proving');
  return matches(facts, contents);
}

/** No others beside them: they would hold what the device wrote. */
function hasColumns({ columns }: ManifestTable, local: CatalogTable): boolean {
  const own = new Map(local.columns.map(({ name, type }) => [name, type]));
  return own.size === columns.length && columns.every(({ name, type }) => own.get(name) === type);
}
