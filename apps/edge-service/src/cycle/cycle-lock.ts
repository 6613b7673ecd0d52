import { Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { ADVISORY_NAMESPACE, AdvisoryLock, withClient } from '@waypost/runtime';
import type pg from 'pg';
import { Database } from '../database/database.js';

/** How long a cycle waits for a database that is just starting. */
const DATABASE_PATIENCE_MS = 5000;

/**
 * One cycle at a time per database, across processes. The lock lives in the connection that also loads the rows: whoever loses it cannot
 * commit any more. It is a session lock, so DATABASE_URL must not lead through a pooler in transaction mode.
 */
@Injectable()
export class CycleLock {
  constructor(private readonly database: Database) {}

  /** @throws WaypostError SYNC_RUNNING when another process holds it; DATABASE_UNAVAILABLE */
  async hold<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    await this.database.whenReady(DATABASE_PATIENCE_MS);
    return withClient(this.database.pool, async (client) => {
      const key = [ADVISORY_NAMESPACE, AdvisoryLock.syncCycle];
      // The connection rests during long downloads: it must not be closed for that.
      const { rows } = await client.query<{ held: boolean }>(
        "SELECT pg_try_advisory_lock($1, $2) AS held, set_config('idle_session_timeout', '0', false)",
        key,
      );
      if (!rows[0]?.held) throw new WaypostError('SYNC_RUNNING', { detail: 'Another process is syncing this database.' });
      try {
        return await work(client);
      } finally {
        // Also after a failure: the server notices the end of the connection only later, and the next cycle may come at once. A connection
        // that broke took the lock along, and what was committed before is committed.
        await client.query('SELECT pg_advisory_unlock($1, $2)', key).catch(() => void client.end().catch(() => undefined));
      }
    });
  }
}
