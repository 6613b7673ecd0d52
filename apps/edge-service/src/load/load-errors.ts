import { WaypostError } from '@waypost/contracts';
import { isLocked, SqlState, sqlStateOf, toWaypostError } from '@waypost/runtime';
import type pg from 'pg';

/** Data exceptions, violated constraints, missing rights, and what TRUNCATE or COPY refuse: the local schema does not take the rows. */
const LOCAL_SCHEMA = /^(22|23|42|0A|55000)/;

/**
 * What PostgreSQL said while loading, as the error that tells how it heals. Only names go into the detail: PostgreSQL's own detail
 * quotes row data.
 */
export function loadError(error: unknown): WaypostError {
  const state = sqlStateOf(error) ?? '';
  if (isLocked(error)) {
    return tablesLocked(error);
  }
  if (state === SqlState.untranslatableCharacter) {
    return new WaypostError('LOAD_REFUSED', {
      detail: `The encoding of the device's database lacks a character that central has (SQLSTATE ${state}).`,
      hint: 'Give the device a database with encoding UTF8: it has every character.',
      cause: error,
    });
  }
  if (!(error instanceof WaypostError) && LOCAL_SCHEMA.test(state)) {
    const { schema, table, constraint, column, routine } = error as pg.DatabaseError;
    const where = [schema && table ? `${schema}.${table}` : table, column && `column ${column}`, constraint && `constraint ${constraint}`];
    const place = where.filter(Boolean).join(', ') || (routine ?? 'the database');
    return new WaypostError('LOAD_REFUSED', {
      detail: `PostgreSQL refuses the rows (SQLSTATE ${state}) at ${place}.`,
      cause: error,
    });
  }
  return toWaypostError(error);
}

export function tablesLocked(cause: unknown): WaypostError {
  return new WaypostError('LOCK_TIMEOUT', { detail: 'A mirrored table could not be locked: another session uses it.', cause });
}
