import { WaypostError } from '@waypost/contracts';
import { SqlState, sqlStateOf } from '@waypost/runtime';
import type pg from 'pg';
import {
  captureTriggers,
  createFunction,
  createTrigger,
  dropTriggers,
  READ_FUNCTION_PRESENT,
  READ_UNUSED_FUNCTIONS,
  READ_WATCHED,
} from './capture.sql.js';
import type { CheckedPlan } from '../plan/check-plan.js';
import { type CaptureCheck, checkCapture, readKeys, type Table } from './check-capture.js';
import { findSources } from './find-sources.js';

/** What capture covers of what a plan reads. */
export interface Coverage {
  /** Names of the tables that the plan's queries read, partitions included. */
  tables: string[];
  /** Those whose changes nobody records. */
  unwatched: string[];
  /** Why each of those is, by its name. */
  reasons: Record<string, string>;
  /** Why changes could pass unnoticed even then. */
  obstacles: string[];
}

/** Looks at the database as it is now, in a READ WRITE transaction that leaves nothing. */
export async function describeCapture(client: pg.ClientBase, plan: CheckedPlan): Promise<Coverage> {
  const { tables, obstacles } = await findSources(client, plan);
  return coverageOf(tables, obstacles, await checkCapture(client, tables));
}

/**
 * Makes all tables that the plan reads record their changes, in the transaction under way. Those that do are left as they are; each of the others is
 * locked against writers for a moment. The role must own the tables, or have TRIGGER on them, may create functions in schema waypost, and write to
 * waypost.changes. @returns what is covered then
 * @throws WaypostError CAPTURE_REFUSED with the right that is missing
 */
export async function captureFor(client: pg.ClientBase, plan: CheckedPlan): Promise<Coverage> {
  const { tables, obstacles } = await findSources(client, plan);
  const { unwatched } = await checkCapture(client, tables);
  await installCapture(client, unwatched).catch(asRefused);
  await dropUnusedFunctions(client);
  return coverageOf(tables, obstacles, await checkCapture(client, tables));
}

/** Takes all triggers away again, in the transaction under way. @returns the tables that had some */
export async function removeCapture(client: pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query<Table>(READ_WATCHED);
  for (const { name } of rows) await client.query(dropTriggers(name));
  await dropUnusedFunctions(client);
  return rows.map(({ name }) => name);
}

function coverageOf(tables: readonly Table[], obstacles: readonly string[], { unwatched, blockers }: CaptureCheck): Coverage {
  return {
    tables: namesOf(tables),
    unwatched: namesOf(unwatched),
    reasons: Object.fromEntries(unwatched.map(({ name, reason }) => [name, reason])),
    obstacles: [...obstacles, ...blockers],
  };
}

function namesOf(tables: readonly Table[]): string[] {
  return tables.map(({ name }) => name).sort();
}

async function installCapture(client: pg.ClientBase, tables: readonly Table[]): Promise<void> {
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

async function dropUnusedFunctions(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<{ name: string }>(READ_UNUSED_FUNCTIONS);
  for (const { name } of rows) await client.query(`DROP FUNCTION ${name}`);
}

function asRefused(error: unknown): never {
  if (sqlStateOf(error) !== SqlState.insufficientPrivilege) throw error;
  throw new WaypostError('CAPTURE_REFUSED', { detail: (error as Error).message, cause: error });
}
