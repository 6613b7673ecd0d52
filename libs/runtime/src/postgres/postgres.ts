import { WaypostError } from '@waypost/contracts';
import pg from 'pg';
import { databaseError } from '../errors/database-errors.js';
import { SqlState, sqlStateOf } from '../errors/sql-state.js';
import { statementOf, traced } from '../telemetry/tracing.js';
import { withoutIds } from '../telemetry/work-context.js';

export { SqlState, sqlStateOf };

interface PoolOptions {
  url: string;
  /** Shown in pg_stat_activity. */
  applicationName: string;
  maxConnections: number;
  /** How long to wait for a connection, new or given back; 10 s by default. */
  queueTimeoutMs?: number;
  onIdleError: (error: Error) => void;
}

/**
 * For new connections, TypeORM's too: what pg's parsers of dates and bytes rely on. A database or a role may have other defaults, under which
 * a timestamp would become an invalid Date.
 */
export async function readableSettings(client: pg.ClientBase): Promise<void> {
  await client.query(
    // Compiling a query of the catalog takes longer than any of them runs.
    "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; SET standard_conforming_strings = on; SET jit = off",
  );
}

/** A pool whose idle connections may break without ending the process. */
export function createPool({ url, applicationName, maxConnections, queueTimeoutMs = 10_000, onIdleError }: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    application_name: applicationName,
    max: maxConnections,
    connectionTimeoutMillis: queueTimeoutMs,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
    // The pool waits for it, though its types do not say so.
    onConnect: (client): unknown => readableSettings(client),
  });
  pool.on('error', (error) => withoutIds(() => onIdleError(error)));
  return pool;
}

/**
 * Runs `work` with a connection of its own. After any error the connection is closed, not reused: a failed COPY or a broken
 * socket leaves it in a state that nobody should inherit.
 * @throws what `work` throws; DATABASE_UNAVAILABLE when no connection could be had
 */
export async function withClient<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect().catch((cause: unknown) => {
    const { hint } = databaseError(cause) ?? {};
    const detail = `No connection to the database: ${describe(cause)}`;
    throw new WaypostError('DATABASE_UNAVAILABLE', { detail, cause, ...(hint === undefined ? {} : { hint }) });
  });
  let broken: Error | undefined;
  const onError = (error: Error): void => {
    broken = error;
  };
  client.on('error', onError);
  try {
    const result = await work(client);
    client.off('error', onError);
    client.release(broken);
    return result;
  } catch (error) {
    client.off('error', onError);
    client.on('error', ignoreLateError);
    client.release(error instanceof Error ? error : true);
    throw error;
  }
}

/** A connection that is being closed after an error may report the same error once more. */
function ignoreLateError(): void {}

/** Runs one statement, wherever; the answer's rows. */
export type Ask = <Row extends object>(text: string, values?: unknown[]) => Promise<Row[]>;

/** As Ask, with a plan that is kept for the connection's life: planning a query of the catalog takes longer than running it. */
export async function askPrepared<Row extends object>(
  client: pg.ClientBase,
  name: string,
  text: string,
  values: unknown[],
): Promise<Row[]> {
  return (await client.query<never>({ name: `waypost ${name}`, text, values })).rows;
}

/** As Ask, on this connection. */
export function askerOf(client: pg.ClientBase): Ask {
  return async (text, values) => (await client.query<never>(text, values)).rows;
}

export type TransactionMode = 'READ WRITE' | 'ISOLATION LEVEL REPEATABLE READ READ ONLY';

const COMMIT = { attributes: statementOf('COMMIT') };

/**
 * The only place that says BEGIN. Commits when `work` returns, rolls back when it throws.
 * @throws what `work` throws; DATABASE_READ_ONLY on a standby that is to write; INTERNAL when `work` returned although one of its statements had failed
 */
export async function withTransaction<T>(client: pg.ClientBase, mode: TransactionMode, work: () => Promise<T>): Promise<T> {
  await client.query(`BEGIN ${mode}`).catch((cause: unknown) => {
    // So a standby says that it takes no writes, and only then.
    if (sqlStateOf(cause) !== SqlState.featureNotSupported) throw cause;
    throw new WaypostError('DATABASE_READ_ONLY', { detail: (cause as Error).message, cause });
  });
  try {
    const result = await work();
    // PostgreSQL answers COMMIT of a failed transaction with success, and ROLLBACK.
    const { command } = await (mode === 'READ WRITE' ? traced('commit', COMMIT, () => client.query('COMMIT')) : client.query('COMMIT'));
    if (command !== 'COMMIT') throw new WaypostError('INTERNAL', { detail: 'A transaction was to be committed after a failed statement.' });
    return result;
  } catch (error) {
    // A broken connection rolls back by itself, and the first error is the one that counts.
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/**
 * Settings that decide how PostgreSQL prints values, as postgres_fdw pins them, for the transaction under way. Both sides pin the same,
 * so that equal values have equal bytes. `public` is searched for what a plan's SQL names without a schema.
 */
export async function pinSession(client: pg.ClientBase): Promise<void> {
  await client.query(`
    SET LOCAL search_path = pg_catalog, public;
    SET LOCAL TimeZone = 'UTC';
    SET LOCAL DateStyle = 'ISO, YMD';
    SET LOCAL IntervalStyle = 'postgres';
    SET LOCAL extra_float_digits = 3;
    SET LOCAL bytea_output = 'hex';
    SET LOCAL client_encoding = 'UTF8';
    SET LOCAL lc_monetary = 'C';
    SET LOCAL xmloption = content;
    SET LOCAL array_nulls = on;
    SET LOCAL quote_all_identifiers = off;
    SET LOCAL row_security = off;
    SET LOCAL synchronize_seqscans = off;
    SET LOCAL jit = off;`);
}

/** Waypost's advisory locks: the first key is Waypost's own, the second says what is locked. */
export const ADVISORY_NAMESPACE = 0x57_61_79_70; // "Wayp"
export const AdvisoryLock = { migrations: 1, snapshotStore: 2, syncCycle: 3, epoch: 4, auditSweep: 5, storeSweep: 6 } as const;

function describe(cause: unknown): string {
  return cause instanceof Error ? cause.message || (sqlStateOf(cause) ?? cause.name) : String(cause);
}
