import { WaypostError } from '@waypost/contracts';
import { SqlState, sqlStateOf } from '@waypost/runtime';
import type pg from 'pg';
import {
  captureTriggers,
  createFunction,
  createTrigger,
  dropTriggers,
  KEEP_RIGHT_TO_RECORD,
  READ_FUNCTION_PRESENT,
  READ_UNUSED_FUNCTIONS,
  READ_WATCHED,
} from './capture.sql.js';
import { createCanary, READ_UNUSED_CANARIES } from './canary.sql.js';
import type { CheckedPlan } from '../plan/check-plan.js';
import { type CaptureCheck, checkCapture, readKeys, type Table } from './check-capture.js';
import { findSources } from './find-sources.js';
import { assertRecorded, readCanaries, tryCapture } from './try-capture.js';

/** What capture covers of what a plan reads. */
export interface Coverage {
  /** Names of the tables that the plan's queries read, partitions included. */
  tables: string[];
  /** Those whose changes are not recorded. */
  unwatched: string[];
  /** Why each of those is, by its name. */
  reasons: Record<string, string>;
  /** Why changes could pass unnoticed even then. */
  obstacles: string[];
}

export interface Installed extends Coverage {
  /** Why the installation could not prove itself on a table, by its name: nothing is known to be wrong there. */
  notChecked: Record<string, string>;
}

/** Looks at the database as it is now, in a READ WRITE transaction that leaves nothing. */
export async function describeCapture(client: pg.ClientBase, plan: CheckedPlan): Promise<Coverage> {
  const { tables, obstacles } = await findSources(client, plan);
  return coverageOf(tables, obstacles, await checkCapture(client, tables));
}

/**
 * Makes all tables that the plan reads record their changes, in the current transaction. Those that do are left as they are; each of the others is
 * locked against writers for a moment. Then each table is written to without changing a row, to see that it is recorded. The role must own the tables,
 * may create functions in schema waypost, and read and write waypost.changes. @returns what is covered then
 * @throws WaypostError CAPTURE_REFUSED with the right that is missing; CAPTURE_UNPROVEN with the table and the operation that was not recorded
 */
export async function captureFor(client: pg.ClientBase, plan: CheckedPlan): Promise<Installed> {
  const { tables, obstacles } = await findSources(client, plan);
  const { uncaptured } = await checkCapture(client, tables);
  const notChecked = await installCapture(client, uncaptured)
    .then(() => proveCapture(client, tables))
    .catch(asRefused);
  await dropUnusedFunctions(client);
  return { ...coverageOf(tables, obstacles, await checkCapture(client, tables)), notChecked };
}

/** Takes all triggers away again, in the current transaction. @returns the tables that had some */
export async function removeCapture(client: pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query<Table>(READ_WATCHED);
  for (const { name } of rows) await client.query(dropTriggers(name));
  await dropUnusedFunctions(client);
  return rows.map(({ name }) => name);
}

function coverageOf(tables: readonly Table[], obstacles: readonly string[], { uncaptured, blockers }: CaptureCheck): Coverage {
  return {
    tables: namesOf(tables),
    unwatched: namesOf(uncaptured),
    reasons: Object.fromEntries(uncaptured.map(({ name, reason }) => [name, reason])),
    obstacles: [...obstacles, ...blockers],
  };
}

function namesOf(tables: readonly Table[]): string[] {
  return tables.map(({ name }) => name).sort();
}

async function installCapture(client: pg.ClientBase, tables: readonly Table[]): Promise<void> {
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

/** @returns why tables could not be tried, by their names */
async function proveCapture(client: pg.ClientBase, tables: readonly Table[]): Promise<Record<string, string>> {
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

async function dropUnusedFunctions(client: pg.ClientBase): Promise<void> {
  for (const unused of [READ_UNUSED_FUNCTIONS, READ_UNUSED_CANARIES]) {
    const { rows } = await client.query<{ name: string }>(unused);
    for (const { name } of rows) await client.query(`DROP FUNCTION ${name}`);
  }
}

function asRefused(error: unknown): never {
  if (sqlStateOf(error) !== SqlState.insufficientPrivilege) throw error;
  throw new WaypostError('CAPTURE_REFUSED', { detail: (error as Error).message, cause: error });
}
