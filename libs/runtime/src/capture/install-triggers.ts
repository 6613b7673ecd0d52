import type pg from 'pg';
import { SqlState, sqlStateOf } from '../errors/sql-state.js';
import { createCanary, READ_UNUSED_CANARIES } from './canary.sql.js';
import { readKeys, type TableRef } from './check-triggers.js';
import {
  captureTriggers,
  createFunction,
  createTrigger,
  dropTriggers,
  KEEP_RIGHT_TO_RECORD,
  READ_FUNCTION_PRESENT,
  READ_UNUSED_FUNCTIONS,
  READ_WATCHED,
} from './triggers.sql.js';
import { assertRecorded, readCanaries, tryCapture } from './try-capture.js';

/** Gives tables the triggers of their present keys. What is there and right stays; a table is locked against writers for a moment. */
export async function installTriggers(client: pg.ClientBase, tables: readonly TableRef[]): Promise<void> {
  await client.query(KEEP_RIGHT_TO_RECORD);
  const keys = await readKeys(
    client,
    tables.map(({ oid }) => oid),
  );
  for (const { oid, name } of tables) {
    for (const trigger of captureTriggers(keys.get(oid) ?? [])) {
      // One that is there and right may belong to another role, whose tables have a key of the same form.
      const { rows } = await client.query(READ_FUNCTION_PRESENT, [trigger.function, trigger.body]);
      if (rows.length === 0) await client.query(createFunction(trigger));
      await client.query(createTrigger(name, trigger));
    }
  }
}

/**
 * Writes to each table without changing a row, to see that it is recorded.
 * @returns why tables could not be tried, by their names
 * @throws WaypostError CAPTURE_UNPROVEN with the table and the operation that was not recorded
 */
export async function proveTriggers(client: pg.ClientBase, tables: readonly TableRef[]): Promise<Record<string, string>> {
  const oids = tables.map(({ oid }) => oid);
  const missing = (await readCanaries(client, oids)).filter((table) => table.function === null);
  const owners = new Map(missing.map(({ owner, service }) => [owner, service]));
  for (const [owner, service] of owners) await createCanaryFor(client, owner, service);
  const notChecked: Record<string, string> = {};
  for (const table of await readCanaries(client, oids)) {
    const trial = await tryCapture(client, table);
    assertRecorded(trial);
    if (trial.notChecked !== undefined) notChecked[table.name] = trial.notChecked;
  }
  return notChecked;
}

/** Where the tables' owner may not have functions in schema waypost, its tables are not checked. */
async function createCanaryFor(client: pg.ClientBase, owner: string, service: string): Promise<void> {
  await client.query('SAVEPOINT waypost_canary');
  try {
    await client.query(createCanary(owner, service));
  } catch (error) {
    if (sqlStateOf(error) !== SqlState.insufficientPrivilege) throw error;
    await client.query('ROLLBACK TO SAVEPOINT waypost_canary');
  }
  await client.query('RELEASE SAVEPOINT waypost_canary');
}

/** Those of earlier keys and versions. */
export async function dropUnusedFunctions(client: pg.ClientBase): Promise<void> {
  for (const unused of [READ_UNUSED_FUNCTIONS, READ_UNUSED_CANARIES]) {
    const { rows } = await client.query<{ name: string }>(unused);
    for (const { name } of rows) await client.query(`DROP FUNCTION ${name}`);
  }
}

/** Takes all triggers away again, in the current transaction. @returns the tables that had some */
export async function removeTriggers(client: pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query<TableRef>(READ_WATCHED);
  for (const { name } of rows) await client.query(dropTriggers(name));
  await dropUnusedFunctions(client);
  return rows.map(({ name }) => name);
}
