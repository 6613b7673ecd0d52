import { Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { ADVISORY_NAMESPACE, AdvisoryLock, databaseIsCentrals, hasTablesOf, identityExpression, withClient } from '@waypost/runtime';
import type pg from 'pg';
import { Database } from '../database/database.js';

/** What the lock statement reads of the database besides. */
interface LockRow {
  held: boolean;
  isCentrals: boolean;
  isMigrated: boolean;
  identity: string;
}

/** $1, $2: the lock. */
const lockStatement = (mayIdentify: boolean): string => `
  SELECT pg_try_advisory_lock($1, $2) AS held, set_config('idle_session_timeout', '0', false),
         ${hasTablesOf('central')} AS "isCentrals", ${hasTablesOf('edge')} AS "isMigrated", ${identityExpression(mayIdentify)} AS identity`;

/** How long a cycle waits for a database that is just starting. */
const DATABASE_MAX_WAIT_MS = 5000;

/**
 * One cycle at a time per database, across processes. The lock lives in the connection that also loads the rows: a process that loses it cannot
 * commit any more. It is a session lock, so the connection must not lead through a pooler in transaction mode.
 */
@Injectable()
export class CycleLock {
  constructor(private readonly database: Database) {}

  /**
   * @param work learns whether the database was replaced, or lost Waypost's tables, since the last cycle: they were made again, empty or as they were there
   * @throws WaypostError SYNC_RUNNING when another process holds it; WRONG_DATABASE, before anything is written; DATABASE_UNAVAILABLE
   */
  async hold<T>(work: (client: pg.PoolClient, isReplaced: boolean) => Promise<T>): Promise<T> {
    await this.database.whenReady(DATABASE_MAX_WAIT_MS);
    return withClient(this.database.pool, async (client) => {
      const key = [ADVISORY_NAMESPACE, AdvisoryLock.syncCycle];
      // The connection is idle during long downloads: it must not be closed for that.
      const { mayIdentify, identity } = this.database.identity;
      const { rows } = await client.query<LockRow>(lockStatement(mayIdentify), key);
      const found = rows[0];
      if (!found?.held) throw new WaypostError('SYNC_RUNNING', { detail: 'Another process is syncing this database.' });
      try {
        if (found.isCentrals) throw databaseIsCentrals('its schema waypost holds tables of central-api');
        const isReplaced = !found.isMigrated || found.identity !== identity;
        if (isReplaced) await this.database.reopen(DATABASE_MAX_WAIT_MS);
        return await work(client, isReplaced);
      } finally {
        // Also after a failure: the server notices the end of the connection only later, and the next cycle may come at once. A connection
        // that broke took the lock along, and what was committed before is committed.
        await client.query('SELECT pg_advisory_unlock($1, $2)', key).catch(() => void client.end().catch(() => undefined));
      }
    });
  }
}
