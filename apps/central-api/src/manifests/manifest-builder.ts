import { Inject, Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import {
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
import { ChangeWatch } from '../capture/change-tracker.js';
import { TableReads } from '../capture/table-read-cache.js';
import { CONFIG, type Config } from '../config.js';
import { BUILD_POOL } from '../database/database.module.js';
import { SyncMetrics } from '../metrics/sync-metrics.js';
import { EpochKeeper } from '../epochs/epoch-keeper.js';
import { type IssuedManifest, issueManifests, type Recipient } from './issue-manifests.js';
import { CHECKED_PLAN, type CheckedPlan } from '../plan/check-plan.js';
import { PlanRecheck } from '../plan/plan-recheck.js';
import { queryFault } from '../plan/query-fault.js';
import { resolveScopes, shareOf } from '../scopes/resolve-scope.js';
import { buildSnapshot, shareSnapshot, type Snapshot } from '../snapshots/build-snapshot.js';
import { enterBuild } from '../chunk-store/builds.js';
import { SNAPSHOT_STORE, type SnapshotStore } from '../chunk-store/snapshot-store.js';
import type { Member } from '../admission/request-coalescer.js';
import { limitSession, lockDevice, lockMaterializedViews, lockTables, tryLockDevices } from '../plan/lock-tables.js';

/** Called with the manifest while the snapshot's transaction is still open: the place to read the same rows again. */
export type WithRows = (issued: IssuedManifest, snapshot: Snapshot, client: pg.ClientBase) => Promise<void>;

interface Options {
  signal: AbortSignal;
  /** Only for a flight of one, which then waits for no other reader. */
  withRows?: WithRows | undefined;
}

/** A manifest for each, or the keys of tables that somebody else reads just now: none where only a new snapshot is needed. */
type Outcome = { issued: Map<Member, IssuedManifest> } | { elsewhere: string[] };

/** PostgreSQL ends a payload's statement only where central has failed to. */
const AFTER_US_MS = 5000;
/** How often a flight waits for what others read before it reads for itself: rows may change faster than they are read. */
const MAX_WAITS = 3;

/** Answers devices of one share from one snapshot: who are you → what may you see → its tables, read or taken → a manifest for each. */
@Injectable()
export class AnswerFlight {
  constructor(
    @Inject(BUILD_POOL) private readonly pool: pg.Pool,
    @Inject(CHECKED_PLAN) private readonly plan: CheckedPlan,
    @Inject(SNAPSHOT_STORE) private readonly store: SnapshotStore,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly epochs: EpochKeeper,
    private readonly watch: ChangeWatch,
    private readonly reads: TableReads,
    private readonly dataSource: DataSource,
    private readonly metrics: SyncMetrics,
    private readonly recheck: PlanRecheck,
  ) {}

  /**
   * Settles all members but those that have moved to another share meanwhile, and those whose device another process answers at the moment (`isAlone`).
   * @throws WaypostError SNAPSHOT_TOO_SLOW, LOCK_TIMEOUT, DATABASE_UNAVAILABLE, STORAGE_FAILED, ROW_TOO_LARGE, CENTRAL_BUSY, PLAN_INVALID; the signal's reason
   */
  async run(members: readonly Member[], { signal, withRows }: Options): Promise<void> {
    const limit = AbortSignal.timeout(this.config.BUILD_TIMEOUT);
    const startedAt = performance.now();
    try {
      const options = { signal: AbortSignal.any([signal, limit]), withRows };
      const issued = await withClient(this.pool, (client) => this.runWith(client, members, options));
      for (const [member, manifest] of issued) member.resolve(manifest);
    } catch (error) {
      const cancelled = sqlStateOf(error) === SqlState.queryCanceled && performance.now() - startedAt >= this.config.BUILD_TIMEOUT;
      if (!cancelled && !(limit.aborted && error === limit.reason)) return await this.recheck.rethrow(error);
      const detail = `The device’s share was not read within BUILD_TIMEOUT (${this.config.BUILD_TIMEOUT / 1000} s).`;
      throw new WaypostError('SNAPSHOT_TOO_SLOW', { detail, cause: error });
    }
  }

  private async runWith(client: pg.ClientBase, all: readonly Member[], options: Options): Promise<Map<Member, IssuedManifest>> {
    const isPatient = !options.withRows;
    await limitSession(client, this.config);
    const [first] = all;
    const waitsAlone = first?.isAlone || !isPatient;
    if (first && waitsAlone) await lockDevice(client, first.mac, this.config);
    const members = waitsAlone ? all : await tryLockDevices(client, all);
    if (members.length === 0) return new Map();
    // The sweeper must not remove what was stored before a manifest names it.
    await enterBuild(client);
    try {
      for (let waits = 0; ; waits += 1) {
        const outcome = await this.attempt(client, members, { ...options, isPatient: isPatient && waits < MAX_WAITS });
        if ('issued' in outcome) return outcome.issued;
        options.signal.throwIfAborted();
        await this.reads.awaitOthers(client, outcome.elsewhere, options.signal);
        await client.query(`SET lock_timeout = ${this.config.LOCK_TIMEOUT}`);
      }
    } finally {
      await client.query('SELECT pg_advisory_unlock_all()').catch(() => undefined); // a broken connection has let go of them
    }
  }

  private async attempt(client: pg.ClientBase, all: readonly Member[], options: Options & { isPatient: boolean }): Promise<Outcome> {
    const { epoch, isKnown } = await this.epochs.current(client, all);
    // Before the snapshot: what is altered after this is found by the next request.
    const watch = isKnown ? await this.watch.refresh(client) : undefined;
    return withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
      await pinSession(client);
      await lockTables(client, this.plan);
      if (!(await lockMaterializedViews(client, this.plan))) return { elsewhere: [] };
      const recipients = await this.resolve(client, all);
      await faultPoint('central.scope-resolved');
      const [first] = recipients.values();
      if (!first) return { issued: new Map() };
      const macs = [...recipients.keys()].map(({ mac }) => mac);
      const reads = watch && (await this.reads.open(client, { watch, epoch, isPatient: options.isPatient, macs }));
      // One is enough: whoever came with it shares what it makes of the store.
      const observer = [...recipients.keys()].find((member) => member.observer)?.observer;
      const build = { plan: this.plan, scope: first.scope, store: this.store, signal: options.signal, observer };
      const snapshot = await this.build(recipients, (onTable) =>
        reads ? shareSnapshot(client, reads, { ...build, onTable }) : buildSnapshot(client, { ...build, onTable }),
      );
      if (Array.isArray(snapshot)) return { elsewhere: snapshot };
      const seen = reads && { snapshot: reads.seen, fingerprint: watch.fingerprint };
      const issued = await this.issue(recipients, { epoch, snapshot, seen });
      if (options.withRows) await this.sendRows(client, issued, snapshot, options.withRows);
      return { issued };
    });
  }

  /** Who may see what. Whoever may see nothing hears so; whoever has moved to another share is left for another flight. */
  private async resolve(client: pg.ClientBase, all: readonly Member[]): Promise<Map<Member, Recipient>> {
    const members = all.filter(({ isSettled }) => !isSettled);
    const scopes = await traced('scope', { attributes: statementOf(this.plan.scopeQuery) }, () =>
      resolveScopes(
        client,
        this.plan,
        members.map(({ mac }) => mac),
      ).catch((error: unknown) => {
        throw queryFault(error, 'scope query');
      }),
    );
    const recipients = new Map<Member, Recipient>();
    let share: string | undefined;
    for (const [at, member] of members.entries()) {
      const scope = scopes[at] as (typeof scopes)[number];
      if (scope instanceof WaypostError) {
        member.reject(scope);
        continue;
      }
      member.share = shareOf(this.plan, scope);
      share ??= member.share;
      if (member.share === share) recipients.set(member, { mac: member.mac, have: member.have, scope });
    }
    return recipients;
  }

  private async build<Built extends Snapshot | string[]>(
    recipients: ReadonlyMap<Member, Recipient>,
    read: (onTable: (seconds: number) => void) => Promise<Built>,
  ): Promise<Built> {
    const started = performance.now();
    const devices = recipients.size;
    this.logger.info({ devices }, 'snapshot build started');
    const onTable = (seconds: number): void => this.metrics.tableBuilt(seconds);
    const snapshot = await traced(
      'snapshot',
      { attributes: { 'waypost.tables': this.plan.tables.length, 'waypost.devices': devices } },
      () => read(onTable),
    );
    if (Array.isArray(snapshot)) return snapshot;
    const totals = snapshot.tables.filter(({ isShared }) => !isShared).map(({ index }) => index.totals());
    const rows = totals.reduce((sum, table) => sum + table.rowCount, 0);
    const rawBytes = totals.reduce((sum, table) => sum + table.rawBytes, 0);
    const durationMs = Math.round(performance.now() - started);
    const shared = snapshot.tables.length - totals.length;
    this.metrics.snapshotBuilt({ seconds: durationMs / 1000, rows, bytes: rawBytes, shared });
    this.logger.info(
      { devices, tables: snapshot.tables.length, built: totals.length, shared, rows, rawBytes, durationMs },
      'snapshot built',
    );
    return snapshot;
  }

  /** From here on all log lines and spans of each request name its manifest. */
  private async issue(
    recipients: ReadonlyMap<Member, Recipient>,
    snapshot: Pick<Parameters<typeof issueManifests>[2], 'epoch' | 'snapshot' | 'seen'>,
  ): Promise<Map<Member, IssuedManifest>> {
    return traced('manifest', {}, async () => {
      const { schemaVersion } = this.plan;
      const present = [...recipients].filter(([member]) => !member.isSettled);
      const answers = await issueManifests(
        this.dataSource.manager,
        present.map(([, recipient]) => recipient),
        { ...snapshot, schemaVersion, ttlMs: this.config.MANIFEST_TTL, maxShrink: this.config.MAX_SHRINK },
      );
      const issued = new Map<Member, IssuedManifest>();
      for (const [at, [member]] of present.entries()) {
        const answer = answers[at] as (typeof answers)[number];
        if (answer instanceof WaypostError) member.reject(answer);
        else issued.set(member, answer);
      }
      for (const [member, manifest] of issued) member.within(() => this.tell(member, manifest));
      const [first] = issued.values();
      if (first) describeSpan({ 'waypost.is_new': first.isNew });
      return issued;
    });
  }

  /** Which version, how much, proven by which hash; and what the device had until then. */
  private tell({ mac, have }: Member, { manifest, isNew }: IssuedManifest): void {
    noteIds({ manifestId: manifest.manifestId });
    const { sequence, epoch, schemaVersion, sha256, tables } = manifest;
    const rows = tables.reduce((sum, table) => sum + table.rowCount, 0);
    const facts = { mac, isNew, sequence, epoch, schemaVersion, sha256, tables: tables.length, rows, haveSequence: have?.sequence };
    this.logger.info(facts, 'manifest issued');
  }

  private async sendRows(
    client: pg.ClientBase,
    issued: ReadonlyMap<Member, IssuedManifest>,
    snapshot: Snapshot,
    withRows: WithRows,
  ): Promise<void> {
    await client.query('SELECT pg_advisory_unlock_all()');
    await client.query(`SET LOCAL statement_timeout = ${this.config.PAYLOAD_TIMEOUT + AFTER_US_MS}`);
    for (const manifest of issued.values()) await withRows(manifest, snapshot, client);
  }
}
