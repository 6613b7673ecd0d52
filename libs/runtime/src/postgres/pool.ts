import { WaypostError } from '@waypost/contracts';
import pg from 'pg';
import { databaseError } from '../errors/database-errors.js';
import { sqlStateOf } from '../errors/sql-state.js';
import { withoutContext } from '../telemetry/request-context.js';
import { readableSettings } from './session-settings.js';

interface PoolOptions {
  url: string;
  /** Shown in pg_stat_activity. */
  applicationName: string;
  maxConnections: number;
  /** How long to wait for a connection, new or released; 10 s by default. */
  queueTimeoutMs?: number;
  onIdleError: (error: Error) => void;
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
    // The pool awaits it, though its types do not say so.
    onConnect: (client): unknown => readableSettings(client),
  });
  pool.on('error', (error) => withoutContext(() => onIdleError(error)));
  return pool;
}

/**
 * Runs `work` with a connection of its own. After any error the connection is closed, not reused: a failed COPY or a broken
 * socket leaves it in an undefined state.
 * @throws what `work` throws; DATABASE_UNAVAILABLE when there is no connection
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

/** A connection that closes after an error may report the same error again. */
function ignoreLateError(): void {}

function describe(cause: unknown): string {
  return cause instanceof Error ? cause.message || (sqlStateOf(cause) ?? cause.name) : String(cause);
}
