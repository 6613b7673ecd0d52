import { WaypostError } from '@waypost/contracts';
import { SqlState, sqlStateOf, toWaypostError } from '@waypost/runtime';
import type pg from 'pg';

const DEADLOCK = '40P01';
/** Data exceptions, violated constraints, missing rights, and what TRUNCATE or COPY refuse: the local schema does not take the rows. */
const LOCAL_SCHEMA = /^(22|23|42|0A|55000)/;

/**
 * What PostgreSQL said while loading, as the error that tells how it heals. Only names go into the detail: PostgreSQL's own detail
 * quotes row data.
 */
export function loadError(error: unknown): WaypostError {
  const state = sqlStateOf(error) ?? '';
  if (state === SqlState.lockNotAvailable || state === DEADLOCK) {
    return new WaypostError('LOCK_TIMEOUT', { detail: 'A mirrored table could not be locked: another session uses it.', cause: error });
  }
  if (!(error instanceof WaypostError) && LOCAL_SCHEMA.test(state)) {
    const { schema, table, constraint, column, routine } = error as pg.DatabaseError;
    const where = [schema && table ? `${schema}.${table}` : table, column && `column ${column}`, constraint && `constraint ${constraint}`];
    const place = where.filter(Boolean).join(', ') || (routine ?? 'the database');
    return new WaypostError('SCHEMA_MISMATCH', {
      detail: `PostgreSQL refuses the rows (SQLSTATE ${state}) at ${place}.`,
      hint: 'Remove what central does not have: the local constraint, trigger or rule that the detail names; check that the service’s database user owns the table.',
      cause: error,
    });
  }
  return toWaypostError(error);
}
