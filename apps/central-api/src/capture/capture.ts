import { WaypostError } from '@waypost/contracts';
import { dropUnusedFunctions, installTriggers, proveTriggers, SqlState, sqlStateOf, type TableRef } from '@waypost/runtime';
import type pg from 'pg';
import type { CheckedPlan } from '../plan/check-plan.js';
import { type CaptureCheck, checkCapture } from './check-capture.js';
import { findSources } from './find-sources.js';

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
  const { tables, blockers } = await findSources(client, plan);
  return coverageOf(tables, blockers, await checkCapture(client, tables));
}

/**
 * Makes all tables that the plan reads record their changes, in the current transaction. Those that do are left as they are; each of the others is
 * locked against writers for a moment. Then each table is written to without changing a row, to see that it is recorded. The role must own the tables,
 * may create functions in schema waypost, and read and write waypost.changes. @returns what is covered then
 * @throws WaypostError CAPTURE_REFUSED with the right that is missing; CAPTURE_UNPROVEN with the table and the operation that was not recorded
 */
export async function captureFor(client: pg.ClientBase, plan: CheckedPlan): Promise<Installed> {
  const { tables, blockers } = await findSources(client, plan);
  const { uncaptured } = await checkCapture(client, tables);
  const notChecked = await installTriggers(client, uncaptured)
    .then(() => proveTriggers(client, tables))
    .catch(asRefused);
  await dropUnusedFunctions(client);
  return { ...coverageOf(tables, blockers, await checkCapture(client, tables)), notChecked };
}

function coverageOf(tables: readonly TableRef[], ofSources: readonly string[], { uncaptured, blockers }: CaptureCheck): Coverage {
  return {
    tables: namesOf(tables),
    unwatched: namesOf(uncaptured),
    reasons: Object.fromEntries(uncaptured.map(({ name, reason }) => [name, reason])),
    obstacles: [...ofSources, ...blockers],
  };
}

function namesOf(tables: readonly TableRef[]): string[] {
  return tables.map(({ name }) => name).sort();
}

function asRefused(error: unknown): never {
  if (sqlStateOf(error) !== SqlState.insufficientPrivilege) throw error;
  throw new WaypostError('CAPTURE_REFUSED', { detail: (error as Error).message, cause: error });
}
