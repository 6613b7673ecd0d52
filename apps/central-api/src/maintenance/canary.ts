import { Inject, Injectable } from '@nestjs/common';
import { LOGGER, pinSession, queryOn, readCanaries, type Trial, tryCapture, TtlCache, withClient, withTransaction } from '@waypost/runtime';
import pg from 'pg';
import type { Logger } from 'pino';
import { CANARY_POOL } from '../database/pools.js';
import { SyncMetrics } from '../metrics/sync-metrics.js';
import { COUNT_CANARIES, NOTE_CANARY, NOTE_CANARY_FINDING, PRUNE_CANARIES } from './canary.sql.js';
import { ChangeTracker } from '../capture/change-tracker.js';
import { checkCapture } from '../capture/check-capture.js';
import { dropTableReads } from '../capture/findings.js';

/** For each statement, triggers of the application's own included; and for a session whose process hangs. */
const LIMITS = "SET statement_timeout = '3s'; SET idle_in_transaction_session_timeout = '60s'; SET lock_timeout = '1s'";
const STATE = { ttlMs: 10_000, timeoutMs: 2000 };

/**
 * Tries whether writes to captured tables are recorded: one table after the other, each in a transaction that is rolled
 * back. What is not recorded although the triggers are as they must be is a finding: as long as it is open every request reads the tables. A table that is
 * locked, or whose own triggers refuse, is tried again the next time. Several processes may do so at once.
 */
@Injectable()
export class Canary {
  private lastReasons = '';

  constructor(
    @Inject(LOGGER) private readonly logger: Logger,
    @Inject(CANARY_POOL) private readonly pool: pg.Pool,
    private readonly tracker: ChangeTracker,
    private readonly metrics: SyncMetrics,
  ) {
    const counts = new TtlCache(
      async () => (await this.pool.query<{ findings: number; unchecked: number }>(COUNT_CANARIES)).rows[0],
      STATE,
    );
    metrics.watchCanary(() => counts.get());
  }

  /**
   * Tries all tables once. Nothing is tried while changes could pass unnoticed anyway: tables are read then.
   * @throws errors of pg
   */
  async tryAll(signal?: AbortSignal): Promise<void> {
    await withClient(this.pool, async (client) => {
      await client.query(LIMITS);
      const watched = await this.tracker.refresh(client);
      const reasons: string[] = [];
      for (const oid of watched?.tables ?? []) {
        if (signal?.aborted) return;
        const trial = await this.tryTable(client, oid);
        if (trial?.notChecked !== undefined) reasons.push(`${trial.name} ${trial.notChecked}`);
      }
      await client.query(PRUNE_CANARIES);
      this.reportUnchecked(reasons);
    });
  }

  private async tryTable(client: pg.ClientBase, oid: string): Promise<Trial | undefined> {
    let trial = await tryOnce(client, oid);
    // Triggers that were altered a moment ago explain it: then ChangeTracker knows why. Otherwise it happens again.
    if (trial && trial.missed.length > 0) trial = (await isAsInstalled(client, trial)) ? await tryOnce(client, oid) : undefined;
    if (!trial) return undefined;
    if (trial.missed.length > 0) await this.report(client, trial);
    this.metrics.canaryTried(trial.missed.length > 0 ? 'missed' : trial.notChecked === undefined ? 'recorded' : 'not_checked');
    await client.query(NOTE_CANARY, [trial.name, trial.notChecked ?? null]);
    return trial;
  }

  private async report(client: pg.ClientBase, { name, missed }: Trial): Promise<void> {
    await client.query(NOTE_CANARY_FINDING, [name, `${missed.join(', ')} left nothing in waypost.changes`]);
    await dropTableReads(queryOn(client));
    this.logger.error({ table: name, missed }, 'writes are not captured: every request reads the tables until waypost capture trust');
  }

  /** Once, and again when it is something else. */
  private reportUnchecked(reasons: readonly string[]): void {
    const text = reasons.join('\n');
    if (text !== '' && text !== this.lastReasons)
      this.logger.warn({ reasons }, 'whether changes are captured could not be tried for each table');
    this.lastReasons = text;
  }
}

/** In a transaction of its own, which ends with its locks. Nothing where the table is gone. */
async function tryOnce(client: pg.ClientBase, oid: string): Promise<Trial | undefined> {
  return withTransaction(client, 'READ WRITE', async () => {
    const [table] = await readCanaries(client, [oid]);
    return table && tryCapture(client, table);
  });
}

async function isAsInstalled(client: pg.ClientBase, table: Trial): Promise<boolean> {
  return withTransaction(client, 'READ WRITE', async () => {
    await pinSession(client);
    const { uncaptured, blockers } = await checkCapture(client, [table]);
    return uncaptured.length === 0 && blockers.length === 0;
  });
}
