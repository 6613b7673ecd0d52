import { type ManifestTable, parseTableName, quoteTable } from '@waypost/contracts';
import { type CatalogTable, describeTables, sqlStateOf } from '@waypost/runtime';
import type pg from 'pg';
import { FORGET_OWNED, FORGET_RETAINED, RECORD_LEFT } from './owned-tables.sql.js';
import type { OwnedTables } from './owned-tables.js';

/** Something depends on the table, or the role may not drop it. */
const REFUSED = /^(2BP01|42501)$/;

/** What became of a table that is not mirrored any more. */
export interface LeftTable {
  /** As the manifest named it. */
  name: string;
  /** Undefined where it stays. */
  statement?: string;
  /** Why it stays although it was to be dropped. */
  because?: string;
}

/**
 * Lets go of tables that left the plan, in the current transaction: from then on they are the device's own. Those that Waypost created are dropped first where
 * `drop` says so and nothing depends on them. What those hold that stay is written down: OwnedTables takes them back as long as they hold nothing else.
 * @param held the tables of the manifest that the device holds
 * @param names children last, as in a manifest
 * @throws what PostgreSQL says while another session uses a table that is to be dropped
 */
export async function leaveTables(
  client: pg.ClientBase,
  owned: OwnedTables,
  { held, names, drop }: { held: readonly ManifestTable[]; names: readonly string[]; drop: boolean },
): Promise<LeftTable[]> {
  const identifiers = names.map((name) => ({ name, identifier: parseTableName(name) }));
  const described = await describeTables(
    client,
    identifiers.map(({ identifier }) => identifier),
  );
  const locals = new Map<string, CatalogTable>();
  for (const { name, identifier } of identifiers) {
    const local = described.get(quoteTable(identifier));
    if (local) locals.set(name, local);
  }
  const created = drop ? await owned.findCreated(client, locals) : new Set<string>();
  const left: LeftTable[] = [];
  // What references a table goes before it.
  for (const name of [...locals.keys()].reverse()) {
    if (created.has(name)) left.push(await dropTable(client, name));
    else left.push({ name, ...(drop && { because: 'Waypost did not create it' }) });
  }
  const kept = held.filter(({ name }) => left.some((table) => table.name === name && table.statement === undefined));
  const relations = kept.map(({ name }) => quoteTable(parseTableName(name)));
  await client.query(RECORD_LEFT, [relations, kept.map((table) => JSON.stringify(table))]);
  await client.query(FORGET_OWNED, [identifiers.map(({ identifier }) => quoteTable(identifier))]);
  await client.query(FORGET_RETAINED, [names]);
  return left;
}

async function dropTable(client: pg.ClientBase, name: string): Promise<LeftTable> {
  const statement = `DROP TABLE ${quoteTable(parseTableName(name))}`;
  await client.query('SAVEPOINT leaving');
  try {
    // Without CASCADE: what depends on it is the device's own.
    await client.query(statement);
    return { name, statement };
  } catch (error) {
    if (!REFUSED.test(sqlStateOf(error) ?? '')) throw error;
    await client.query('ROLLBACK TO leaving');
    return { name, because: (error as Error).message };
  }
}
