import { WaypostError } from '@waypost/contracts';
import pg from 'pg';
import { SqlState, sqlStateOf } from '../errors/sql-state.js';
import { READ_CANARIES, READ_RECORDED, SWITCH_ON, TRIED } from './canary.sql.js';
import type { TableRef } from './check-triggers.js';

export interface CanaryTable extends TableRef {
  owner: string;
  /** The role that central runs as. */
  service: string;
  /** As SQL writes it; null where capture was installed without one, or this role may not call it. */
  function: string | null;
}

/** What came of trying one table. */
export interface Trial extends TableRef {
  /** Operations that succeeded and were not recorded under the table: a change can be missed. */
  missed: string[];
  /** Why operations could not be tried: that says nothing about them. */
  notChecked: string | undefined;
  /** The message of an error that a trigger function of Waypost raised: every write to the table fails with it. */
  broken: string | undefined;
}

export async function readCanaries(client: pg.ClientBase, oids: readonly string[]): Promise<CanaryTable[]> {
  return (await client.query<CanaryTable>(READ_CANARIES, [oids])).rows;
}

/**
 * Writes to a captured table without changing a row, and looks whether each operation was recorded under it. Statement triggers of the application fire
 * as well. Call it in a READ WRITE transaction of level READ COMMITTED: all is rolled back to a savepoint.
 * @throws errors of pg where the outcome cannot be read
 */
export async function tryCapture(client: pg.ClientBase, table: CanaryTable): Promise<Trial> {
  const { oid, name } = table;
  if (table.function === null) {
    const reason = `no function of ${table.owner} in schema waypost that may try it: run waypost capture install`;
    return { oid, name, missed: [], notChecked: reason, broken: undefined };
  }
  await client.query('SAVEPOINT waypost_canary');
  await client.query(SWITCH_ON);
  const errors = new Map<string, pg.DatabaseError>();
  for (const operation of TRIED) {
    const error = await tryOperation(client, table, operation);
    if (error) errors.set(operation, error);
  }
  const { rows } = await client.query<{ operation: string }>(READ_RECORDED, [oid]);
  await client.query('ROLLBACK TO SAVEPOINT waypost_canary; RELEASE SAVEPOINT waypost_canary');
  const recorded = new Set(rows.map((row) => row.operation));
  const missed = [...TRIED, 'TRUNCATE'].filter((operation) => !errors.has(operation) && !recorded.has(operation));
  const ours = [...errors.values()].find(isOurs);
  return { oid, name, missed, notChecked: reasonOf(errors), broken: ours?.message };
}

/** A statement that fails changes no row either: nothing can be missed by it. */
async function tryOperation(client: pg.ClientBase, table: CanaryTable, operation: string): Promise<pg.DatabaseError | undefined> {
  await client.query('SAVEPOINT waypost_operation');
  try {
    await client.query(`SELECT ${table.function}($1::oid::regclass, $2)`, [table.oid, operation]);
    return undefined;
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    await client.query('ROLLBACK TO SAVEPOINT waypost_operation');
    return error;
  }
}

function reasonOf(errors: ReadonlyMap<string, pg.DatabaseError>): string | undefined {
  if (errors.size === 0) return undefined;
  const reasons = [...errors].map(([operation, error]) => {
    const isLocked = sqlStateOf(error) === SqlState.lockNotAvailable;
    return `${operation}: ${isLocked ? 'the table is locked' : error.message}`;
  });
  return [...new Set(reasons)].join('; ');
}

function isOurs({ where }: pg.DatabaseError): boolean {
  return /waypost\.capture_/.test(where ?? '');
}

/** @throws WaypostError CAPTURE_UNPROVEN that names the table and the operations */
export function assertRecorded({ name, missed, broken }: Trial): void {
  if (broken !== undefined)
    throw new WaypostError('CAPTURE_UNPROVEN', { detail: `Writing to ${name} fails in a trigger of Waypost: ${broken}.` });
  if (missed.length === 0) return;
  throw new WaypostError('CAPTURE_UNPROVEN', { detail: `${missed.join(', ')} of ${name} left nothing in waypost.changes.` });
}
