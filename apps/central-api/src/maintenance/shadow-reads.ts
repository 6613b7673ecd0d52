import { Inject, Injectable } from '@nestjs/common';
import { LOGGER, pause, queryOn, TtlCache, withClient } from '@waypost/runtime';
import pg from 'pg';
import type { Logger } from 'pino';
import { SHADOW_POOL } from '../database/pools.js';
import { SyncMetrics } from '../metrics/sync-metrics.js';
import { CHECKED_PLAN, type CheckedPlan } from '../plan/check-plan.js';
import { limitSession } from '../database/limit-session.js';
import { ChangeTracker } from '../capture/change-tracker.js';
import { compareManifest, type Comparison, type ShadowRead } from './compare-manifest.js';
import { dropTableReads } from '../capture/findings.js';
import { MAINTENANCE_OPTIONS, type MaintenanceOptions } from './maintenance-options.js';
import { NOTE_COMPARED, NOTE_FINDING, PICK_MANIFEST, READ_DUE, READ_SHADOW_STATE } from './shadow-reads.sql.js';

/** After each comparison it rests this many times as long as it took: at most a twentieth of one backend's time. */
const REST_FACTOR = 19;
/** While devices wait for builds, it looks again after this. */
const BUSY_MS = 1000;
const STATE = { ttlMs: 10_000, timeoutMs: 2000 };

/**
 * Reads tables although captured changes say that nothing changed, and compares them with the manifest: one answer "unchanged" in so
 * many, and each table once a day. A difference means that capture missed a change: a finding is stored, and as long as it is open every request
 * reads the tables. One comparison at a time, none while builds wait; what comes meanwhile is not queued, but for one.
 */
@Injectable()
export class ShadowReads {
  /** Called when an answer waits for `compareSampled`. */
  onSampled: () => void = () => undefined;
  private readonly state: TtlCache<{ findings: number; age: number | null }>;
  private next: ShadowRead | undefined;
  private answers = 0;
  private last: Promise<void> = Promise.resolve();

  constructor(
    @Inject(MAINTENANCE_OPTIONS) private readonly options: MaintenanceOptions,
    @Inject(LOGGER) private readonly logger: Logger,
    @Inject(SHADOW_POOL) private readonly pool: pg.Pool,
    @Inject(CHECKED_PLAN) private readonly plan: CheckedPlan,
    private readonly tracker: ChangeTracker,
    private readonly metrics: SyncMetrics,
  ) {
    const read = async () => (await this.pool.query<{ findings: number; age: number | null }>(READ_SHADOW_STATE, [this.tables])).rows[0]!;
    this.state = new TtlCache(read, STATE);
    metrics.watchShadowReads(() => this.state.get());
  }

  /** To be called for each answer "unchanged": it only counts. */
  answered(mac: string, manifestId: string): void {
    if (!this.options.shadowReadEvery) return;
    this.answers += 1;
    if (this.answers < this.options.shadowReadEvery) return;
    this.answers = 0;
    this.next ??= { mac, manifestId };
    this.onSampled();
  }

  /** Compares a table of the answer that waits for it, if one does. */
  async compareSampled(signal?: AbortSignal): Promise<void> {
    const sampled = this.next;
    this.next = undefined;
    if (sampled) await this.compare(sampled, signal);
  }

  /** Compares all tables that were not compared for a day, each with some live manifest. */
  async readDue(signal?: AbortSignal): Promise<void> {
    const { rows } = await this.pool.query<{ name: string }>(READ_DUE, [this.tables]);
    for (const { name } of rows) {
      const watched = await withClient(this.pool, (client) => this.tracker.refresh(client));
      if (!watched || signal?.aborted) return;
      const picked = await this.pool.query<{ manifestId: string; mac: string }>(PICK_MANIFEST, [watched.fingerprint]);
      if (picked.rows[0]) await this.compare({ ...picked.rows[0], table: name }, signal);
    }
  }

  private get tables(): string[] {
    return this.plan.tables.map(({ name }) => name);
  }

  /** One after the other. Never throws; returns after its rest. */
  private compare(wanted: ShadowRead, signal?: AbortSignal): Promise<void> {
    this.last = this.last.then(() => this.compareNow(wanted, signal));
    return this.last;
  }

  private async compareNow(wanted: ShadowRead, signal?: AbortSignal): Promise<void> {
    while (this.metrics.buildsWaiting > 0 && !signal?.aborted) await pause(BUSY_MS, signal);
    if (signal?.aborted) return;
    const startedAt = performance.now();
    try {
      const comparison = await withClient(this.pool, async (client) => {
        await limitSession(client, this.options);
        const comparison = await compareManifest(client, { plan: this.plan, tracker: this.tracker }, wanted);
        if (comparison) await this.note(client, wanted, comparison);
        return comparison;
      });
      const result = !comparison ? 'skipped' : isEqual(comparison) ? 'equal' : 'different';
      this.metrics.shadowRead(result, (performance.now() - startedAt) / 1000);
    } catch (err) {
      this.metrics.shadowRead('failed', (performance.now() - startedAt) / 1000);
      this.logger.warn({ err, ...wanted }, 'a shadow read failed');
    }
    await pause(REST_FACTOR * (performance.now() - startedAt), signal);
  }

  private async note(client: pg.ClientBase, { mac, manifestId }: ShadowRead, comparison: Comparison): Promise<void> {
    const { table, expected, found } = comparison;
    if (isEqual(comparison)) {
      await client.query(NOTE_COMPARED, [table]);
      return;
    }
    await client.query(NOTE_FINDING, [table, manifestId, mac, expected, found]);
    await dropTableReads(queryOn(client));
    const facts = { table, mac, manifestId, expected, found };
    this.logger.error(facts, 'a change was not captured: every request reads the tables until waypost capture trust');
  }
}

function isEqual({ expected, found }: Comparison): boolean {
  return expected !== null && expected === found;
}
