import { Inject, Injectable } from '@nestjs/common';
import { type Have, WaypostError } from '@waypost/contracts';
import { AdvisoryLock, ADVISORY_NAMESPACE, LOGGER, pinSession, sqlStateOf, SqlState, withClient, withTransaction } from '@waypost/runtime';
import pg from 'pg';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { CONFIG, type Config } from '../config.js';
import { BUILD_POOL } from '../database/database.module.js';
import { EpochKeeper } from '../manifests/epoch-keeper.js';
import { type IssuedManifest, issueManifest } from '../manifests/issue-manifest.js';
import { SyncMetrics } from '../health/sync-metrics.js';
import { CHECKED_PLAN, type CheckedPlan } from '../plan/check-plan.js';
import { resolveScope, type Scope } from '../scopes/resolve-scope.js';
import { buildSnapshot, type Snapshot } from '../snapshots/build-snapshot.js';
import { SNAPSHOT_STORE, type SnapshotStore } from '../snapshots/snapshot-store.js';

interface Request {
  mac: string;
  have: Have | undefined;
  signal: AbortSignal;
  /** Called with the manifest while the snapshot's transaction is still open: the place to read the same rows again. */
  withRows?: (issued: IssuedManifest, snapshot: Snapshot, client: pg.ClientBase) => Promise<void>;
}

/** Answers a device's request: who are you → what may you see → snapshot of it → manifest. */
@Injectable()
export class AnswerRequest {
  constructor(
    @Inject(BUILD_POOL) private readonly pool: pg.Pool,
    @Inject(CHECKED_PLAN) private readonly plan: CheckedPlan,
    @Inject(SNAPSHOT_STORE) private readonly store: SnapshotStore,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly epochs: EpochKeeper,
    private readonly dataSource: DataSource,
    private readonly metrics: SyncMetrics,
  ) {}

  /**
   * @throws WaypostError DEVICE_UNKNOWN, DEVICE_AMBIGUOUS, DEVICE_INACTIVE, CENTRAL_BUSY, LOCK_TIMEOUT, DATABASE_UNAVAILABLE, STORAGE_FAILED, ROW_TOO_LARGE
   */
  async answer({ mac, have, signal, withRows }: Request): Promise<IssuedManifest> {
    return this.withBuildClient(async (client) => {
      await this.lockDevice(client, mac);
      // Shared: the sweeper must not remove what was stored before a manifest names it.
      await client.query('SELECT pg_advisory_lock_shared($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.snapshotStore]);
      try {
        const epoch = await this.epochs.current(client, have);
        return await withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
          await pinSession(client);
          const scope = await resolveScope(client, this.plan, mac);
          const snapshot = await this.build(client, mac, scope, signal);
          const issued = await issueManifest(this.dataSource.manager, {
            mac,
            have,
            epoch,
            schemaVersion: this.plan.schemaVersion,
            scope,
            snapshot,
            ttlMs: this.config.MANIFEST_TTL,
          });
          await client.query('SELECT pg_advisory_unlock_shared($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.snapshotStore]);
          await withRows?.(issued, snapshot, client);
          return issued;
        });
      } finally {
        await client.query('SELECT pg_advisory_unlock_all()').catch(() => undefined); // a broken connection has let go of them
      }
    });
  }

  private async build(client: pg.ClientBase, mac: string, scope: Scope, signal: AbortSignal): Promise<Snapshot> {
    const started = performance.now();
    this.logger.info({ mac }, 'snapshot build started');
    const snapshot = await buildSnapshot(client, { plan: this.plan, scope, store: this.store, signal });
    const totals = snapshot.tables.map(({ index }) => index.totals());
    const rows = totals.reduce((sum, table) => sum + table.rowCount, 0);
    const rawBytes = totals.reduce((sum, table) => sum + table.rawBytes, 0);
    const durationMs = Math.round(performance.now() - started);
    this.metrics.snapshotBuilt(durationMs / 1000, rows, rawBytes);
    this.logger.info({ mac, tables: totals.length, rows, rawBytes, durationMs }, 'snapshot built');
    return snapshot;
  }

  /** The pool's size bounds the builds at one time; its queue has a time limit. */
  private async withBuildClient<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    return withClient(this.pool, work).catch((error: unknown) => {
      const isFull = this.pool.totalCount >= this.config.MAX_CONCURRENT_BUILDS && this.pool.idleCount === 0;
      if (isFull && error instanceof WaypostError && error.code === 'DATABASE_UNAVAILABLE') {
        throw new WaypostError('CENTRAL_BUSY', { cause: error });
      }
      throw error;
    });
  }

  /** One request per device at a time, across processes: the order of its manifests is the order of their snapshots. */
  private async lockDevice(client: pg.ClientBase, mac: string): Promise<void> {
    await client.query(`SET lock_timeout = ${this.config.BUILD_QUEUE_TIMEOUT}`);
    try {
      await client.query("SELECT pg_advisory_lock(hashtextextended('waypost device ' || $1, 0))", [mac]);
    } catch (error) {
      if (sqlStateOf(error) !== SqlState.lockNotAvailable) throw error;
      throw new WaypostError('CENTRAL_BUSY', { detail: `Another request of ${mac} is being answered.`, cause: error });
    }
    await client.query(`SET lock_timeout = ${this.config.LOCK_TIMEOUT}`);
  }
}
