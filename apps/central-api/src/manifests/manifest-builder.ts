import { Inject, Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { faultPoint, sqlStateOf, SqlState, statementOf, traced, withClient } from '@waypost/runtime';
import pg from 'pg';
import { ChangeTracker } from '../capture/change-tracker.js';
import { TableReadCache } from '../capture/table-read-cache.js';
import { BUILD_POOL } from '../database/pools.js';
import { EpochKeeper } from '../epochs/epoch-keeper.js';
import { CHECKED_PLAN, type CheckedPlan } from '../plan/check-plan.js';
import { PlanRecheck } from '../plan/plan-recheck.js';
import { queryFault } from '../plan/query-fault.js';
import { resolveScopes, scopeKeyOf } from '../scopes/resolve-scope.js';
import type { Snapshot } from '../snapshots/build-snapshot.js';
import { SnapshotBuilder } from '../snapshots/snapshot-builder.js';
import { releaseLocks, withBuildSession, withSnapshot } from './build-session.js';
import type { IssuedManifest, Recipient } from './issue-manifests.js';
import { ManifestIssuer } from './manifest-issuer.js';
import { MANIFEST_OPTIONS, type ManifestOptions } from './manifest-options.js';
import type { PendingRequest } from './pending-request.js';

/** Called with the manifest while the snapshot's transaction is still open: the place to read the same rows again. */
export type WithRows = (issued: IssuedManifest, snapshot: Snapshot, client: pg.ClientBase) => Promise<void>;

interface Options {
  signal: AbortSignal;
  /** Only for a single request, which then waits for no other reader. */
  withRows?: WithRows | undefined;
}

/** A manifest for each, or the keys of tables that others are reading: none where only a new snapshot is needed. */
type Outcome = { issued: Map<PendingRequest, IssuedManifest> } | { inProgress: string[] };

/** PostgreSQL ends a payload's statement only where central has failed to. */
const STATEMENT_MARGIN_MS = 5000;
/** How often a build waits for what others read before it reads for itself: rows may change faster than they are read. */
const MAX_WAITS = 3;

/** Answers requests of one scope group from one snapshot: resolve scopes → read tables, or take them from others' reads → issue manifests. */
@Injectable()
export class ManifestBuilder {
  constructor(
    @Inject(BUILD_POOL) private readonly pool: pg.Pool,
    @Inject(CHECKED_PLAN) private readonly plan: CheckedPlan,
    @Inject(MANIFEST_OPTIONS) private readonly options: ManifestOptions,
    private readonly epochs: EpochKeeper,
    private readonly tracker: ChangeTracker,
    private readonly reads: TableReadCache,
    private readonly snapshots: SnapshotBuilder,
    private readonly issuer: ManifestIssuer,
    private readonly recheck: PlanRecheck,
  ) {}

  /**
   * Settles all requests but those whose device has moved to another scope group meanwhile, and those whose device another process is answering
   * (`isAlone`).
   * @throws WaypostError SNAPSHOT_TOO_SLOW, LOCK_TIMEOUT, DATABASE_UNAVAILABLE, STORAGE_FAILED, ROW_TOO_LARGE, CENTRAL_BUSY, PLAN_INVALID; the signal's reason
   */
  async run(requests: readonly PendingRequest[], { signal, withRows }: Options): Promise<void> {
    const deadline = AbortSignal.timeout(this.options.buildTimeoutMs);
    const startedAt = performance.now();
    try {
      const options = { signal: AbortSignal.any([signal, deadline]), withRows };
      const issued = await withClient(this.pool, (client) => this.runOn(client, requests, options));
      for (const [request, manifest] of issued) request.resolve(manifest);
    } catch (error) {
      const cancelled = sqlStateOf(error) === SqlState.queryCanceled && performance.now() - startedAt >= this.options.buildTimeoutMs;
      if (!cancelled && !(deadline.aborted && error === deadline.reason)) return await this.recheck.rethrow(error);
      const detail = `The device’s share was not read within BUILD_TIMEOUT (${this.options.buildTimeoutMs / 1000} s).`;
      throw new WaypostError('SNAPSHOT_TOO_SLOW', { detail, cause: error });
    }
  }

  private async runOn(
    client: pg.ClientBase,
    requests: readonly PendingRequest[],
    options: Options,
  ): Promise<Map<PendingRequest, IssuedManifest>> {
    const waitsForLock = options.withRows !== undefined || requests[0]?.isAlone === true;
    const issued = await withBuildSession(client, requests, { limits: this.options, waitsForLock }, async (locked) => {
      for (let waits = 0; ; waits += 1) {
        const waitsForReads = !options.withRows && waits < MAX_WAITS;
        const outcome = await this.attempt(client, locked, { ...options, waitsForReads });
        if ('issued' in outcome) return outcome.issued;
        options.signal.throwIfAborted();
        await this.reads.awaitOthers(client, outcome.inProgress, options.signal);
        await client.query(`SET lock_timeout = ${this.options.lockTimeoutMs}`);
      }
    });
    return issued ?? new Map();
  }

  private async attempt(
    client: pg.ClientBase,
    requests: readonly PendingRequest[],
    { signal, withRows, waitsForReads }: Options & { waitsForReads: boolean },
  ): Promise<Outcome> {
    const { epoch, isKnown } = await this.epochs.current(client, requests);
    // Before the snapshot: what is altered after this is found by the next request.
    const tracked = isKnown ? await this.tracker.refresh(client) : undefined;
    const outcome = await withSnapshot(client, this.plan, async (): Promise<Outcome> => {
      const recipients = await this.resolve(client, requests);
      await faultPoint('central.scope-resolved');
      const [first] = recipients.values();
      if (!first) return { issued: new Map() };
      const macs = [...recipients.keys()].map(({ mac }) => mac);
      const reads = tracked && (await this.reads.open(client, { tracked, epoch, waitsForReads, macs }));
      // One is enough: the others share what it makes of the store.
      const observer = [...recipients.keys()].find((request) => request.observer)?.observer;
      const snapshot = await this.snapshots.build(client, { scope: first.scope, signal, observer, devices: recipients.size, reads });
      if (Array.isArray(snapshot)) return { inProgress: snapshot };
      const seen = reads && { snapshot: reads.seen, fingerprint: tracked.fingerprint };
      const issued = await this.issuer.issue(recipients, { epoch, snapshot, seen });
      if (withRows) await this.sendRows(client, issued, snapshot, withRows);
      return { issued };
    });
    return outcome ?? { inProgress: [] };
  }

  /** What each device may see. A request whose device may see nothing is rejected; one whose device has moved to another scope group is left for another run. */
  private async resolve(client: pg.ClientBase, all: readonly PendingRequest[]): Promise<Map<PendingRequest, Recipient>> {
    const requests = all.filter(({ isSettled }) => !isSettled);
    const macs = requests.map(({ mac }) => mac);
    const scopes = await traced('scope', { attributes: statementOf(this.plan.scopeQuery) }, () =>
      resolveScopes(client, this.plan, macs).catch((error: unknown) => {
        throw queryFault(error, 'scope query');
      }),
    );
    const recipients = new Map<PendingRequest, Recipient>();
    let scopeKey: string | undefined;
    for (const [at, request] of requests.entries()) {
      const scope = scopes[at] as (typeof scopes)[number];
      if (scope instanceof WaypostError) {
        request.reject(scope);
        continue;
      }
      request.scopeKey = scopeKeyOf(this.plan, scope);
      scopeKey ??= request.scopeKey;
      if (request.scopeKey === scopeKey) recipients.set(request, { mac: request.mac, have: request.have, scope });
    }
    return recipients;
  }

  private async sendRows(
    client: pg.ClientBase,
    issued: ReadonlyMap<PendingRequest, IssuedManifest>,
    snapshot: Snapshot,
    withRows: WithRows,
  ): Promise<void> {
    await releaseLocks(client);
    await client.query(`SET LOCAL statement_timeout = ${this.options.payloadTimeoutMs + STATEMENT_MARGIN_MS}`);
    for (const manifest of issued.values()) await withRows(manifest, snapshot, client);
  }
}
