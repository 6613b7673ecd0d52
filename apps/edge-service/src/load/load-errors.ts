import { WaypostError } from '@waypost/contracts';
import { isLocked, SqlState, sqlStateOf } from '@waypost/runtime';
import { toWaypostError } from '@waypost/runtime/service';
import type pg from 'pg';

/** The part of PostgreSQL that looks for a row's partition. */
const NO_PARTITION = 'ExecFindPartition';
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
  if (!(error instanceof WaypostError) && state === SqlState.insufficientPrivilege) return rightMissing(error as pg.DatabaseError);
  if (!(error instanceof WaypostError) && LOCAL_SCHEMA.test(state)) {
    const { schema, table, constraint, column, routine } = error as pg.DatabaseError;
    const where = [schema && table ? `${schema}.${table}` : table, column && `column ${column}`, constraint && `constraint ${constraint}`];
    if (routine === NO_PARTITION) return partitionMissing(error as pg.DatabaseError);
    const place = where.filter(Boolean).join(', ') || (routine ?? 'the database');
    return new WaypostError('LOAD_REFUSED', {
      detail: `PostgreSQL refuses the rows (SQLSTATE ${state}) at ${place}.`,
      cause: error,
    });
  }
  return toWaypostError(error);
}

/** PostgreSQL's message names the object and no values: `permission denied for table visits`. */
function rightMissing(error: pg.DatabaseError): WaypostError {
  return new WaypostError('LOAD_REFUSED', {
    detail: `The service's database role lacks a right: ${error.message}.`,
    hint:
      'As the owner or a superuser: GRANT CREATE ON DATABASE (schemas that are missing; or make the schema beforehand with CREATE SCHEMA … AUTHORIZATION role), GRANT USAGE, CREATE ON SCHEMA (tables that are missing), ' +
      'ALTER TABLE … OWNER TO (mirrored tables), GRANT SELECT (tables of the device’s own that reference them), each to that role.',
    cause: error,
  });
}

function partitionMissing(error: pg.DatabaseError): WaypostError {
  return new WaypostError('LOAD_REFUSED', {
    detail: `No partition of ${error.schema}.${error.table} takes a row that central has.`,
    hint: `Attach the missing partition on the device, or make a DEFAULT one. Those that are there: SELECT c.oid::regclass, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE i.inhparent = '${error.schema}.${error.table}'::regclass`,
    cause: error,
  });
}

export function tablesLocked(cause: unknown): WaypostError {
  return new WaypostError('LOCK_TIMEOUT', { detail: 'A mirrored table could not be locked: another session uses it.', cause });
}
