import { Inject, Injectable } from '@nestjs/common';
import { LOGGER, traced } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import type { OpenReads } from '../capture/table-read-cache.js';
import { RowChanges } from '../chunk-store/row-changes.js';
import { SNAPSHOT_STORE, type SnapshotStore } from '../chunk-store/snapshot-store.js';
import { SyncMetrics } from '../metrics/sync-metrics.js';
import { CHECKED_PLAN, type CheckedPlan } from '../plan/check-plan.js';
import type { Scope } from '../scopes/resolve-scope.js';
import type { BuildObserver } from './build-observer.js';
import { buildSnapshot, shareSnapshot, type Snapshot, type TableSnapshot } from './build-snapshot.js';

interface BuildRequest {
  scope: Scope;
  signal: AbortSignal;
  observer: BuildObserver | undefined;
  /** How many devices are answered from it. */
  devices: number;
  /** Where changes are captured: reads of others that can be taken. */
  reads: OpenReads | undefined;
}

/** Builds snapshots in the current transaction, with their span, their log lines and their metrics. */
@Injectable()
export class SnapshotBuilder {
  constructor(
    @Inject(CHECKED_PLAN) private readonly plan: CheckedPlan,
    @Inject(SNAPSHOT_STORE) private readonly store: SnapshotStore,
    private readonly changes: RowChanges,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly metrics: SyncMetrics,
  ) {}

  /**
   * @returns as shareSnapshot where there are `reads`; otherwise always a snapshot
   * @throws WaypostError as buildSnapshot
   */
  async build(client: pg.ClientBase, { devices, reads, ...request }: BuildRequest): Promise<Snapshot | string[]> {
    const started = performance.now();
    this.logger.info({ devices }, 'snapshot build started');
    const options = {
      ...request,
      plan: this.plan,
      store: this.store,
      changes: this.changes,
      onTable: (...read: Parameters<SyncMetrics['tableRead']>) => this.metrics.tableRead(...read),
    };
    const attributes = { 'waypost.tables': this.plan.tables.length, 'waypost.devices': devices };
    const snapshot = await traced('snapshot', { attributes }, () =>
      reads ? shareSnapshot(client, reads, options) : buildSnapshot(client, options),
    );
    if (!Array.isArray(snapshot)) this.report(snapshot, devices, performance.now() - started);
    return snapshot;
  }

  private report({ tables }: Snapshot, devices: number, elapsedMs: number): void {
    const count = (wanted: TableSnapshot['source']): number => tables.filter(({ source }) => source === wanted).length;
    const rows = tables.reduce((sum, { readRows }) => sum + readRows, 0);
    const rawBytes = tables.reduce((sum, { readBytes }) => sum + readBytes, 0);
    const durationMs = Math.round(elapsedMs);
    const [shared, changed] = [count('shared'), count('changed')];
    const reasons = tables.flatMap(({ table, wholeBecause }) => (wholeBecause === undefined ? [] : [[table.name, wholeBecause]]));
    const readWhole = reasons.length > 0 ? { readWhole: Object.fromEntries(reasons) as Record<string, string> } : {};
    this.metrics.snapshotBuilt({ seconds: durationMs / 1000, rows, bytes: rawBytes, shared });
    const facts = {
      devices,
      tables: tables.length,
      built: tables.length - shared,
      changed,
      shared,
      rows,
      rawBytes,
      durationMs,
      ...readWhole,
    };
    this.logger.info(facts, 'snapshot built');
  }
}
