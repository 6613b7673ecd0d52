import { Inject, Injectable } from '@nestjs/common';
import { type Have, WaypostError } from '@waypost/contracts';
import {
  AdvisoryLock,
  ADVISORY_NAMESPACE,
  describeSpan,
  faultPoint,
  LOGGER,
  noteIds,
  pinSession,
  sqlStateOf,
  SqlState,
  statementOf,
  traced,
  withClient,
  withTransaction,
} from '@waypost/runtime';
import pg from 'pg';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { ChangeWatch } from '../changes/change-watch.js';
import { FindUnchanged } from '../changes/find-unchanged.js';
import { CONFIG, type Config } from '../config.js';
import { BUILD_POOL } from '../database/database.module.js';
import { EpochKeeper } from '../manifests/epoch-keeper.js';
import { type IssuedManifest, issueManifest } from '../manifests/issue-manifest.js';
import { SyncMetrics } from '../health/sync-metrics.js';
import { CHECKED_PLAN, type CheckedPlan } from '../plan/check-plan.js';
import { resolveScope, type Scope } from '../scopes/resolve-scope.js';
import { buildSnapshot, type Snapshot } from '../snapshots/build-snapshot.js';
import { SNAPSHOT_STORE, type SnapshotStore } from '../snapshots/snapshot-store.js';
import { Turns, TurnsByKey } from './turns.js';

interface Request {
  mac: string;
  have: Have | undefined;
  signal: AbortSignal;
  /** Called with the manifest while the snapshot's transaction is still open: the place to read the same rows again. */
  withRows?: (issued: IssuedManifest, snapshot: Snapshot, client: pg.ClientBase) => Promise<void>;
}

/** What a request holds while it is answered. */
interface Held {
  /** The device's turn, given back when its manifest is issued. */
  device: Disposable;
  /** Fires when the client goes away, or when the snapshot takes longer than BUILD_TIMEOUT. */
  signal: AbortSignal;
}

/** PostgreSQL ends a payload's statement only where central has failed to. */
const AFTER_US_MS = 5000;
/** A session that waits within a transaction for so long waits for a central that hangs: PostgreSQL ends it. */
const IDLE_IN_TRANSACTION_MS = 5 * 60_000;

/** A table or view that the plan reads is gone, or may not be read any more. */
const ALTERED: ReadonlySet<string | undefined> = new Set([SqlState.undefinedTable, SqlState.insufficientPrivilege]);

/** Answers a device's request: who are you → what may you see → snapshot of it → manifest. */
@Injectable()
export class AnswerRequest {
  private readonly devices: TurnsByKey;
  private readonly builds: Turns;
  private readonly payloads: Turns;

  constructor(
    @Inject(BUILD_POOL) private readonly pool: pg.Pool,
    @Inject(CHECKED_PLAN) private readonly plan: CheckedPlan,
    @Inject(SNAPSHOT_STORE) private readonly store: SnapshotStore,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly epochs: EpochKeeper,
    private readonly watch: ChangeWatch,
    private readonly unchanged: FindUnchanged,
    private readonly dataSource: DataSource,
    private readonly metrics: SyncMetrics,
  ) {
    this.devices = new TurnsByKey(deviceBusy);
    this.builds = new Turns(config.MAX_CONCURRENT_BUILDS, () => new WaypostError('CENTRAL_BUSY'));
    metrics.watchBuilds(this.builds);
    this.payloads = new Turns(
      config.MAX_CONCURRENT_PAYLOADS,
      () => new WaypostError('CENTRAL_BUSY', { hint: 'Ask again later. If this lasts, raise MAX_CONCURRENT_PAYLOADS.' }),
    );
  }

  /**
   * A device waits for its own other requests before it takes a place that others could use; requests with rows, which last as long as their
   * receiver takes, have places of their own.
   * @throws WaypostError DEVICE_UNKNOWN, DEVICE_AMBIGUOUS, DEVICE_INACTIVE, CENTRAL_BUSY, SNAPSHOT_TOO_SLOW, LOCK_TIMEOUT,
   * DATABASE_UNAVAILABLE, STORAGE_FAILED, ROW_TOO_LARGE; the signal's reason
   */
  async answer(request: Request): Promise<IssuedManifest> {
    const patience = { until: performance.now() + this.config.BUILD_QUEUE_TIMEOUT, signal: request.signal };
    using device = await this.devices.take(request.mac, patience);
    using _place = await (request.withRows ? this.payloads : this.builds).take(patience);
    const limit = AbortSignal.timeout(this.config.BUILD_TIMEOUT);
    const startedAt = performance.now();
    try {
      return await withClient(this.pool, (client) =>
        this.answerWith(client, request, { device, signal: AbortSignal.any([request.signal, limit]) }),
      );
    } catch (error) {
      const cancelled = sqlStateOf(error) === SqlState.queryCanceled && performance.now() - startedAt >= this.config.BUILD_TIMEOUT;
      if (!cancelled && !(limit.aborted && error === limit.reason)) throw error;
      throw new WaypostError('SNAPSHOT_TOO_SLOW', {
        detail: `The share of ${request.mac} was not read within BUILD_TIMEOUT (${this.config.BUILD_TIMEOUT / 1000} s).`,
        cause: error,
      });
    }
  }

  private async answerWith(client: pg.ClientBase, { mac, have, withRows }: Request, { device, signal }: Held): Promise<IssuedManifest> {
    await this.limitSession(client);
    await this.lockDevice(client, mac);
    // Shared: the sweeper must not remove what was stored before a manifest names it.
    await client.query('SELECT pg_advisory_lock_shared($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.snapshotStore]);
    try {
      const epoch = await this.epochs.current(client, have);
      // Before the snapshot: what is altered after this is found by the next request.
      const watch = await this.watch.refresh(client);
      return await withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
        await pinSession(client);
        await this.lockTables(client);
        const scope = await traced('scope', { attributes: statementOf(this.plan.scopeQuery) }, () => resolveScope(client, this.plan, mac));
        await faultPoint('central.scope-resolved');
        const snapshot = await this.build(client, mac, scope, signal);
        const issued = await this.issue({ mac, have, epoch, scope, snapshot });
        if (watch) await this.unchanged.note(issued.manifest.manifestId, await this.unchanged.readSeen(client), watch);
        await client.query('SELECT pg_advisory_unlock_all()');
        device[Symbol.dispose]();
        if (withRows) {
          await client.query(`SET LOCAL statement_timeout = ${this.config.PAYLOAD_TIMEOUT + AFTER_US_MS}`);
          await withRows(issued, snapshot, client);
        }
        return issued;
      });
    } finally {
      await client.query('SELECT pg_advisory_unlock_all()').catch(() => undefined); // a broken connection has let go of them
    }
  }

  /** From here on all log lines and spans of the request name the manifest. */
  private async issue(options: Omit<Parameters<typeof issueManifest>[1], 'schemaVersion' | 'ttlMs'>): Promise<IssuedManifest> {
    return traced('manifest', {}, async () => {
      const { schemaVersion } = this.plan;
      const issued = await issueManifest(this.dataSource.manager, { ...options, schemaVersion, ttlMs: this.config.MANIFEST_TTL });
      noteIds({ manifestId: issued.manifest.manifestId });
      describeSpan({ 'waypost.is_new': issued.isNew });
      this.logger.info(factsOf(issued, options.have), 'manifest issued');
      return issued;
    });
  }

  private async build(client: pg.ClientBase, mac: string, scope: Scope, signal: AbortSignal): Promise<Snapshot> {
    const started = performance.now();
    this.logger.info({ mac }, 'snapshot build started');
    const onTable = (seconds: number): void => this.metrics.tableBuilt(seconds);
    const snapshot = await traced('snapshot', { attributes: { 'waypost.tables': this.plan.tables.length } }, () =>
      buildSnapshot(client, { plan: this.plan, scope, store: this.store, signal, onTable }),
    );
    const totals = snapshot.tables.map(({ index }) => index.totals());
    const rows = totals.reduce((sum, table) => sum + table.rowCount, 0);
    const rawBytes = totals.reduce((sum, table) => sum + table.rawBytes, 0);
    const durationMs = Math.round(performance.now() - started);
    this.metrics.snapshotBuilt(durationMs / 1000, rows, rawBytes);
    this.logger.info({ mac, tables: totals.length, rows, rawBytes, durationMs }, 'snapshot built');
    return snapshot;
  }

  /** Node gives up by itself at the same time; this ends what PostgreSQL does meanwhile, such as a sort that has sent nothing yet. */
  private async limitSession(client: pg.ClientBase): Promise<void> {
    await client.query(`SELECT set_config('statement_timeout', $1, false), set_config('idle_in_transaction_session_timeout', $2, false)`, [
      String(this.config.BUILD_TIMEOUT),
      String(IDLE_IN_TRANSACTION_MS),
    ]);
  }

  /**
   * All that is read, before the transaction has its snapshot: whoever truncates or rewrites a table after that would leave it empty for an older
   * snapshot, and the manifest would be of a state that never was. Only ACCESS EXCLUSIVE waits for this lock; readers and writers do not.
   */
  private async lockTables(client: pg.ClientBase): Promise<void> {
    const { reads } = this.plan;
    if (reads.length === 0) return;
    await client.query(`LOCK TABLE ${reads.join(', ')} IN ACCESS SHARE MODE`).catch((error: unknown) => {
      if (!ALTERED.has(sqlStateOf(error))) throw error;
      throw new WaypostError('PLAN_INVALID', { detail: `The database was altered: ${(error as Error).message}`, cause: error });
    });
  }

  /** One request per device at a time, across processes: the order of its manifests is the order of their snapshots. */
  private async lockDevice(client: pg.ClientBase, mac: string): Promise<void> {
    await client.query(`SET lock_timeout = ${this.config.BUILD_QUEUE_TIMEOUT}`);
    try {
      await client.query("SELECT pg_advisory_lock(hashtextextended('waypost device ' || $1, 0))", [mac]);
    } catch (error) {
      if (sqlStateOf(error) !== SqlState.lockNotAvailable) throw error;
      throw deviceBusy(mac, error);
    }
    await client.query(`SET lock_timeout = ${this.config.LOCK_TIMEOUT}`);
  }
}

/** Which version, how much, proven by which hash; and what the device had until then. */
function factsOf({ manifest, isNew }: IssuedManifest, have: Have | undefined): object {
  const { sequence, epoch, schemaVersion, sha256, tables } = manifest;
  const rows = tables.reduce((sum, table) => sum + table.rowCount, 0);
  return { isNew, sequence, epoch, schemaVersion, sha256, tables: tables.length, rows, haveSequence: have?.sequence };
}

function deviceBusy(mac: string, cause?: unknown): WaypostError {
  return new WaypostError('CENTRAL_BUSY', {
    detail: `Another request of ${mac} is being answered.`,
    hint: 'The device asks again by itself. If this lasts, look for two devices with one MAC address.',
    cause,
  });
}
