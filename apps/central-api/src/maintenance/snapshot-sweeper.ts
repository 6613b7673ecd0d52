import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { LOGGER } from '@waypost/runtime';
import pg from 'pg';
import type { Logger } from 'pino';
import { pruneChanges } from './prune-changes.js';
import { CONFIG, type Config } from '../config.js';
import { collectGarbage, type Garbage } from '../chunk-store/gc/collect-garbage.js';
import { PackStore } from '../chunk-store/pack-store.js';
import { STORE_POOL } from '../database/pools.js';

const INTERVAL_MS = 3_600_000;
const RETRY_MS = 60_000;
/** Builds in progress are waited for; they take BUILD_TIMEOUT at most, and their ends some more. */
const WAIT_MARGIN_MS = 60_000;

/** Removes, at start and once an hour, what the chunk store holds and the captured changes that no live manifest needs. */
@Injectable()
export class SnapshotSweeper implements OnApplicationBootstrap, OnApplicationShutdown {
  private timer: NodeJS.Timeout | undefined;
  private running: Promise<void> = Promise.resolve();
  /** One sweep of this process after the other. */
  private sweeping: Promise<unknown> = Promise.resolve();
  /** Since the last sweep the store reached its limit, or came near: nothing stays that is not needed. */
  private isFull = false;
  private sweptAt = -Infinity;
  private readonly stop = new AbortController();

  constructor(
    @Inject(STORE_POOL) private readonly pool: pg.Pool,
    private readonly store: PackStore,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.store.onFull = () => {
      this.isFull = true;
      const restMs = this.sweptAt + RETRY_MS - performance.now();
      this.schedule(Math.max(0, restMs));
    };
    this.schedule(0);
  }

  async onApplicationShutdown(): Promise<void> {
    this.stop.abort();
    clearTimeout(this.timer);
    await this.running;
  }

  /**
   * Builds that have stored snapshots and not yet their manifest are waited for, at most `maxWaitMs` each time; nothing waits for the sweep.
   * @returns undefined when that was not enough
   */
  sweep(maxWaitMs = this.maxWaitMs): Promise<Garbage | undefined> {
    const done = this.sweeping.then(() => this.collect(maxWaitMs));
    this.sweeping = done.catch(() => undefined);
    return done;
  }

  /** @returns how many captured changes; undefined when builds in progress did not end in time */
  prune(maxWaitMs = this.maxWaitMs): Promise<number | undefined> {
    return pruneChanges(this.pool, { maxWaitMs, signal: this.stop.signal });
  }

  private async collect(maxWaitMs: number): Promise<Garbage | undefined> {
    const { SNAPSHOT_RETENTION: idleMs, SNAPSHOT_RETENTION_COUNT: idleCount } = this.config;
    const isFull = this.isFull || this.store.isNearlyFull;
    const garbage = await collectGarbage({
      ...this.store.parts,
      pool: this.pool,
      retention: isFull ? { idleMs: 0, idleCount: 0, keepsShared: false } : { idleMs, idleCount, keepsShared: true },
      maxWaitMs,
      signal: this.stop.signal,
    });
    if (garbage && isFull) this.isFull = false;
    this.sweptAt = performance.now();
    return garbage;
  }

  private get maxWaitMs(): number {
    return this.config.BUILD_TIMEOUT + WAIT_MARGIN_MS;
  }

  private schedule(delayMs: number): void {
    if (this.stop.signal.aborted) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.running = this.running.then(() => this.run());
    }, delayMs).unref();
  }

  private async run(): Promise<void> {
    const { signal } = this.stop;
    if (signal.aborted) return;
    const garbage = await this.sweep().catch((err: unknown) => {
      this.logger.error({ err }, 'snapshots could not be swept');
      return null;
    });
    if (signal.aborted) return;
    await this.store.measure().catch((err: unknown) => this.logger.error({ err }, 'the snapshot store could not be measured'));
    if (signal.aborted) return;
    const pruned = await this.prune().catch((err: unknown) => {
      this.logger.error({ err }, 'captured changes could not be pruned');
      return 0;
    });
    if (signal.aborted) return;
    if (pruned) this.logger.info({ pruned }, 'captured changes pruned');
    if (garbage === undefined || pruned === undefined) this.schedule(RETRY_MS);
    else this.schedule(INTERVAL_MS);
    if (garbage && Object.values(garbage).some((count: number) => count > 0)) this.logger.info(garbage, 'unneeded snapshots removed');
  }
}
