import { WaypostError } from '@waypost/contracts';
import { SqlState, sqlStateOf } from '@waypost/runtime';
import { toWaypostError } from '@waypost/runtime/service';

const NO_RIGHT =
  'Give the role of DATABASE_URL the right to create its schema, GRANT CREATE ON DATABASE <database> TO <role>; or make the schema for it beforehand: CREATE SCHEMA waypost AUTHORIZATION <role>. The service then heals by itself.';

/** Why Waypost's tables cannot be reached or made: DATABASE_UNAVAILABLE with PostgreSQL's own words, or a code that says more. */
export function openingFault(error: unknown): WaypostError {
  const known = toWaypostError(error);
  if (known.code !== 'INTERNAL' && known.code !== 'DATABASE_UNAVAILABLE') return known;
  const reason =
    error instanceof WaypostError ? error.message : `The database is not ready: ${error instanceof Error ? error.message : String(error)}`;
  const hint = sqlStateOf(error) === SqlState.insufficientPrivilege ? NO_RIGHT : known.code === 'INTERNAL' ? undefined : known.hint;
  return new WaypostError('DATABASE_UNAVAILABLE', { detail: reason, cause: error, ...(hint === undefined ? {} : { hint }) });
}
