import { WaypostError } from '@waypost/contracts';
import type pg from 'pg';
import { SqlState, sqlStateOf } from '../errors/sql-state.js';
import { statementOf, traced } from '../telemetry/tracing.js';

export type TransactionMode = 'READ WRITE' | 'ISOLATION LEVEL REPEATABLE READ READ ONLY';

interface Begin {
  mode: TransactionMode;
  /** SET LOCAL statements, which then cost no round trip of their own. */
  settings: string;
}

const COMMIT = { attributes: statementOf('COMMIT') };

/**
 * The only place that says BEGIN. Commits when `work` returns, rolls back when it throws.
 * @throws what `work` throws; DATABASE_READ_ONLY on a standby that is to write; INTERNAL when `work` returned although one of its statements had failed
 */
export async function withTransaction<T>(client: pg.ClientBase, begin: TransactionMode | Begin, work: () => Promise<T>): Promise<T> {
  const { mode, settings } = typeof begin === 'string' ? { mode: begin, settings: undefined } : begin;
  try {
    await client.query(settings === undefined ? `BEGIN ${mode}` : `BEGIN ${mode}; ${settings}`).catch((cause: unknown) => {
      // Only a standby answers BEGIN READ WRITE with this state.
      if (sqlStateOf(cause) !== SqlState.featureNotSupported) throw cause;
      throw new WaypostError('DATABASE_READ_ONLY', { detail: (cause as Error).message, cause });
    });
    const result = await work();
    // PostgreSQL answers COMMIT of a failed transaction with success, and ROLLBACK.
    const { command } = await (mode === 'READ WRITE' ? traced('commit', COMMIT, () => client.query('COMMIT')) : client.query('COMMIT'));
    if (command !== 'COMMIT') throw new WaypostError('INTERNAL', { detail: 'A transaction was to be committed after a failed statement.' });
    return result;
  } catch (error) {
    // A broken connection rolls back by itself; the first error is the one to throw.
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}
