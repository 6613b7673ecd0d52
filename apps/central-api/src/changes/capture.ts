import type pg from 'pg';
import { createFunctions, createTriggers, dropTriggers, READ_KEY, READ_TRIGGERS, READ_WATCHED, TRIGGERS_PER_TABLE } from './capture.sql.js';
import type { CheckedPlan } from '../plan/check-plan.js';
import { findSources, type Sources } from './find-sources.js';

type Table = Sources['tables'][number];

/** Tables whose changes nobody records: triggers are missing, or somebody switched them off. */
export async function findUnwatched(client: pg.ClientBase, tables: readonly Table[]): Promise<Table[]> {
  const { rows } = await client.query<{ oid: string; triggers: number }>(READ_TRIGGERS, [tables.map(({ oid }) => oid)]);
  const complete = new Set(rows.filter(({ triggers }) => triggers === TRIGGERS_PER_TABLE).map(({ oid }) => oid));
  return tables.filter(({ oid }) => !complete.has(oid));
}

/** What capture covers of what a plan reads. */
export interface Coverage {
  /** Names of the tables that the plan's queries read, partitions included. */
  tables: string[];
  /** Those whose changes nobody records. */
  unwatched: string[];
  /** Why changes could pass unnoticed even then. */
  obstacles: string[];
}

/** Looks at the database as it is now, in a READ WRITE transaction that leaves nothing. */
export async function describeCapture(client: pg.ClientBase, plan: CheckedPlan): Promise<Coverage> {
  const { tables, obstacles } = await findSources(client, plan);
  return { tables: namesOf(tables), unwatched: namesOf(await findUnwatched(client, tables)), obstacles };
}

/** Makes all tables that the plan reads record their changes, in the transaction under way. @returns what is covered then */
export async function captureFor(client: pg.ClientBase, plan: CheckedPlan): Promise<Coverage> {
  const { tables, obstacles } = await findSources(client, plan);
  await installCapture(client, tables);
  return { tables: namesOf(tables), unwatched: namesOf(await findUnwatched(client, tables)), obstacles };
}

function namesOf(tables: readonly Table[]): string[] {
  return tables.map(({ name }) => name).sort();
}

/**
 * Makes the tables record their changes, in the transaction under way. Each table is locked against writers for a moment. The role must own the
 * tables, or have TRIGGER on them, and be allowed to write to waypost.changes.
 */
async function installCapture(client: pg.ClientBase, tables: readonly Table[]): Promise<void> {
  for (const { oid, name } of tables) {
    const { rows } = await client.query<{ key: string[] }>(READ_KEY, [oid]);
    await client.query(createFunctions(oid, rows[0]!.key));
    await client.query(createTriggers(oid, name));
  }
}

/** Takes all triggers away again, in the transaction under way. @returns the tables that had some */
export async function removeCapture(client: pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query<Table>(READ_WATCHED);
  for (const { oid, name } of rows) await client.query(dropTriggers(oid, name));
  return rows.map(({ name }) => name);
}
