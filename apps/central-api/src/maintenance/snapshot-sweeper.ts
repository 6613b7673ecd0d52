import { Inject, Injectable } from '@nestjs/common';
import { LOGGER } from '@waypost/runtime';
import pg from 'pg';
import type { Logger } from 'pino';
import { MAINTENANCE_OPTIONS, type MaintenanceOptions } from './maintenance-options.js';
import { pruneChanges } from './prune-changes.js';
import { collectGarbage, type Garbage } from '../chunk-store/gc/collect-garbage.js';
import { PackStore } from '../chunk-store/pack-store.js';
import { DeltaStore } from '../deltas/delta-store.js';
import { STORE_POOL } from '../database/pools.js';

/** A full store is swept again after so long at the earliest, and one that has grown. */
const REST_MS = { full: 60_000, grown: 5000 };
/** Builds in progress are waited for; they take `buildTimeoutMs` at most, and their ends some more. */
const WAIT_MARGIN_MS = 60_000;

interface SweepOptions {
  /** How long builds that have stored snapshots and not yet their manifest are waited for, at most, each time. */
  maxWaitMs?: number;
  signal?: AbortSignal;
}

/** Removes what the chunk store holds and the captured changes that no live manifest needs. */
@Injectable()
export class SnapshotSweeper {
  /** One sweep of this process after the other. */
  private sweeping: Promise<unknown> = Promise.resolve();
  /** Since the last sweep the store reached its limit, or came near: nothing stays that is not needed. */
  private isFull = false;
  private sweptAt = -Infinity;

  constructor(
    @Inject(STORE_POOL) private readonly pool: pg.Pool,
    private readonly store: PackStore,
    private readonly deltas: DeltaStore,
    @Inject(MAINTENANCE_OPTIONS) private readonly options: MaintenanceOptions,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * Sweeps and measures the store, sweeps deltas, then prunes captured changes. What fails is logged, and keeps nothing else from being done.
   * @returns false when builds in progress did not end in time, or packs were retired: then there is something to do soon
   */
  async run(signal: AbortSignal): Promise<boolean> {
    const steps = {
      'snapshots could not be swept': async () => (await this.sweep({ signal }))?.compacted === 0,
      'deltas could not be swept': () => this.deltas.sweep(),
      'the snapshot store could not be measured': () => this.store.measure(),
      'captured changes could not be pruned': async () => (await this.prune({ signal })) !== undefined,
    };
    let isComplete = true;
    for (const [failure, step] of Object.entries(steps)) {
      if (signal.aborted) break;
      const result = await step().catch((err: unknown) => this.logger.error({ err }, failure));
      if (result === false) isComplete = false;
    }
    return isComplete;
  }

  /** The next sweep leaves nothing in the store that is not needed. @returns how long it should wait */
  expectFull(): number {
    this.isFull = true;
    return this.restMs(REST_MS.full);
  }

  /** @returns how long the next sweep should wait, for a store that has grown since the last one */
  expectGrowth(): number {
    return this.restMs(REST_MS.grown);
  }

  /**
   * Builds that have stored snapshots and not yet their manifest are waited for; nothing waits for the sweep.
   * @returns undefined when they did not end in time
   */
  sweep(options: SweepOptions = {}): Promise<Garbage | undefined> {
    const done = this.sweeping.then(() => this.collect(options));
    this.sweeping = done.catch(() => undefined);
    return done;
  }

  /** @returns how many captured changes; undefined when builds in progress did not end in time */
  async prune(options: SweepOptions = {}): Promise<number | undefined> {
    const pruned = await pruneChanges(this.pool, this.waitOptions(options));
    if (pruned) this.logger.info({ pruned }, 'captured changes pruned');
    return pruned;
  }

  private async collect(options: SweepOptions): Promise<Garbage | undefined> {
    const isFull = this.isFull || this.store.isNearlyFull;
    const garbage = await collectGarbage({
      ...this.store.parts,
      pool: this.pool,
      retention: isFull
        ? { idleMs: 0, idleCount: 0, baseMs: 0, keepsShared: false }
        : { ...this.options.snapshotRetention, keepsShared: true },
      ...this.waitOptions(options),
    });
    if (garbage && isFull) this.isFull = false;
    this.sweptAt = performance.now();
    if (garbage && Object.values(garbage).some((count: number) => count > 0)) this.logger.info(garbage, 'unneeded snapshots removed');
    return garbage;
  }

  private restMs(sinceLastMs: number): number {
    return Math.max(0, this.sweptAt + sinceLastMs - performance.now());
  }

  private waitOptions({ maxWaitMs, signal }: SweepOptions): Required<SweepOptions> {
    return { maxWaitMs: maxWaitMs ?? this.options.buildTimeoutMs + WAIT_MARGIN_MS, signal: signal ?? new AbortController().signal };
  }
}
