import { WaypostError } from '@waypost/contracts';
import { isLocked, sqlStateOf } from '@waypost/runtime';
import type pg from 'pg';
import { alterStatements } from '../schema/alteration.js';
import type { Alterations } from '../schema/plan-changes.js';

/** What PostgreSQL says of a change that it does not make: features, values, constraints, dependents, rights. */
const REFUSED = /^(0A|22|23|2B|42|55000)/;

/**
 * Makes planned changes in the current transaction, which must be pinned. The types that they name must have been checked to be types.
 * @returns the statements, by table
 * @throws WaypostError SCHEMA_MISMATCH that names the statement which PostgreSQL refuses; what `isLocked` knows
 */
export async function alterTables(client: pg.ClientBase, alterations: Alterations): Promise<Map<string, string[]>> {
  const done = new Map<string, string[]>();
  for (const [table, list] of alterations) {
    const statements = list.flatMap((alteration) => alterStatements(table, alteration));
    for (const statement of statements) await runDefinition(client, table, statement);
    done.set(table, statements);
  }
  return done;
}

/** @param what the table or type that is altered, by the manifest's name */
export async function runDefinition(client: pg.ClientBase, what: string, statement: string): Promise<void> {
  // By the extended protocol, which takes no second statement.
  await client.query({ text: statement, queryMode: 'extended' } as pg.QueryConfig).catch((error: unknown) => {
    if (isLocked(error) || !REFUSED.test(sqlStateOf(error) ?? '')) throw error;
    throw new WaypostError('SCHEMA_MISMATCH', {
      detail: `${what} differs from the manifest, and PostgreSQL refuses ${statement}: ${(error as Error).message}.`,
      hint: 'The device keeps the data that it has. Remove what is in the way, and run the statement as the owner if the next cycle does not.',
      cause: error,
    });
  });
}
