import { type ErrorCode, WaypostError } from '@waypost/contracts';
import { SqlState, sqlStateOf } from './sql-state.js';

interface Fault {
  states: RegExp;
  code: ErrorCode;
  /** Replaces the code's own. */
  hint?: string;
}

/** What happens to a database server, by SQLSTATE or code of the network error. The first match counts. */
const FAULTS: readonly Fault[] = [
  // A standby, or default_transaction_read_only.
  { states: /^25006$/, code: 'DATABASE_READ_ONLY' },
  { states: /^53100$/, code: 'DATABASE_FULL' },
  {
    states: /^53300$/,
    code: 'DATABASE_UNAVAILABLE',
    hint: 'The server has no connection left: look at pg_stat_activity for who holds them, or raise max_connections. The service heals by itself.',
  },
  { states: /^55P03$/, code: 'LOCK_TIMEOUT' },
  // Connection lost (08), resources (53), shutdown, crash, starting up, timeouts (57), rolled back for another's or a recovery's sake (40),
  // transactions that idled or lasted too long (25P03, 25P04).
  { states: /^(08|53|57|40|25P0[34]$)/, code: 'DATABASE_UNAVAILABLE' },
  // The server cannot read or write its files.
  {
    states: /^58/,
    code: 'DATABASE_UNAVAILABLE',
    hint: 'The database server has trouble with its files: look at its log and its disk. The service heals by itself.',
  },
  {
    states: /^(ECONNREFUSED|ECONNRESET|ECONNABORTED|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|E(HOST|NET)(UNREACH|DOWN))$/,
    code: 'DATABASE_UNAVAILABLE',
  },
];
/**
 * How pg and TypeORM report a connection that is gone when no SQLSTATE came. TypeORM releases a transaction's connection as soon as that breaks, between
 * two of its statements, too; the next statement hears only that it was released.
 */
const CONNECTION_GONE = new RegExp(
  `^(${[
    'Connection terminated',
    'Client has encountered a connection error',
    'Client was closed',
    'timeout expired$',
    'timeout exceeded when trying to connect',
    'Query runner already released',
    'Database connection provided by a query runner was already released',
  ].join('|')})`,
);

/** A fault of the database as one of ours; undefined where it is something else, such as an SQL error. */
export function databaseError(cause: unknown): WaypostError | undefined {
  const state = sqlStateOf(cause) ?? '';
  const fault = FAULTS.find(({ states }) => states.test(state));
  if (!fault && !isConnectionGone(cause)) return undefined;
  const { code = 'DATABASE_UNAVAILABLE', hint } = fault ?? {};
  return new WaypostError(code, { detail: (cause as Error).message, cause, ...(hint === undefined ? {} : { hint }) });
}

/** Without an SQLSTATE. A Unix socket is a file that is missing while the server is away. */
function isConnectionGone(cause: unknown): boolean {
  if (!(cause instanceof Error)) return false;
  return CONNECTION_GONE.test(cause.message) || (sqlStateOf(cause) === 'ENOENT' && (cause as { syscall?: unknown }).syscall === 'connect');
}

/** Whether PostgreSQL gave up waiting for a lock, or chose this side of a deadlock: the same works when the others are done. */
export function isLocked(error: unknown): boolean {
  const state = sqlStateOf(error);
  return state === SqlState.lockNotAvailable || state === SqlState.deadlock;
}
