import type pg from 'pg';

/** A session that waits within a transaction for so long waits for a central that hangs: PostgreSQL ends it. */
const IDLE_IN_TRANSACTION_MS = 5 * 60_000;

interface SessionLimits {
  /** Of each statement. */
  buildTimeoutMs: number;
  lockTimeoutMs: number;
}

/** Node aborts at the same time; this ends what PostgreSQL still does, such as a sort that has sent nothing yet. */
export async function limitSession(client: pg.ClientBase, { buildTimeoutMs, lockTimeoutMs }: SessionLimits): Promise<void> {
  await client.query(
    `SELECT set_config('statement_timeout', $1, false), set_config('idle_in_transaction_session_timeout', $2, false), set_config('lock_timeout', $3, false)`,
    [String(buildTimeoutMs), String(IDLE_IN_TRANSACTION_MS), String(lockTimeoutMs)],
  );
}
