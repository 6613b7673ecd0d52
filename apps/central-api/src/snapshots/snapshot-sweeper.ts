import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { LOGGER } from '@waypost/runtime';
import pg from 'pg';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { pruneChanges } from '../changes/prune-changes.js';
import { PRUNE_READS } from '../changes/table-reads.sql.js';
import { READ_SEEN_BY_ALL } from '../changes/unchanged.sql.js';
import { CONFIG, type Config } from '../config.js';
import { collectGarbage, type Garbage } from './collect-garbage.js';
import { PackStore } from './pack-store.js';
import { STORE_POOL } from './store-pool.js';

const INTERVAL_MS = 3_600_000;
const RETRY_MS = 60_000;
/** New requests queue behind a waiting sweep, so it waits only so long: from the first bound up to the second, doubled each time it is in vain. */
const PATIENCE_MS = { first: 250, longest: 16_000 } as const;

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
  /** Captured changes of transactions before this one are of no use any more. */
  private seenByAll = '0';

  constructor(
    private readonly dataSource: DataSource,
    @Inject(STORE_POOL) private readonly pool: pg.Pool,
    private readonly store: PackStore,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.store.onFull = () => {
      this.isFull = true;
      const restMs = this.sweptAt + RETRY_MS - performance.now();
      this.schedule(Math.max(0, restMs), PATIENCE_MS.first);
    };
    this.schedule(0, PATIENCE_MS.first);
  }

  async onApplicationShutdown(): Promise<void> {
    this.stop.abort();
    clearTimeout(this.timer);
    await this.running;
  }

  /**
   * Requests that have stored snapshots and not yet their manifest are waited for, at most `patienceMs`.
   * @returns undefined when the wait was in vain
   */
  sweep(patienceMs: number = PATIENCE_MS.longest): Promise<Garbage | undefined> {
    const done = this.sweeping.then(() => this.collect(patienceMs));
    this.sweeping = done.catch(() => undefined);
    return done;
  }

  private async collect(patienceMs: number): Promise<Garbage | undefined> {
    const { SNAPSHOT_RETENTION: idleMs, SNAPSHOT_RETENTION_COUNT: idleCount } = this.config;
    const isFull = this.isFull || this.store.isNearlyFull;
    const garbage = await collectGarbage({
      ...this.store.parts,
      pool: this.pool,
      retention: isFull ? { idleMs: 0, idleCount: 0, keepsShared: false } : { idleMs, idleCount, keepsShared: true },
      patienceMs,
      signal: this.stop.signal,
      whileNobodyBuilds: async (ask) => {
        await ask(PRUNE_READS);
        const [seen] = await ask<{ xid: string }>(READ_SEEN_BY_ALL);
        this.seenByAll = seen?.xid ?? '0';
      },
    });
    if (garbage && isFull) this.isFull = false;
    this.sweptAt = performance.now();
    return garbage;
  }

  private schedule(delayMs: number, patienceMs: number): void {
    if (this.stop.signal.aborted) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.running = this.running.then(() => this.run(patienceMs));
    }, delayMs).unref();
  }

  private async run(patienceMs: number): Promise<void> {
    const { signal } = this.stop;
    if (signal.aborted) return;
    const garbage = await this.sweep(patienceMs).catch((err: unknown) => {
      this.logger.error({ err }, 'snapshots could not be swept');
      return null;
    });
    if (signal.aborted) return;
    await this.store.measure().catch((err: unknown) => this.logger.error({ err }, 'the snapshot store could not be measured'));
    if (signal.aborted) return;
    const pruned = await pruneChanges((text, values) => this.dataSource.manager.query(text, values), this.seenByAll).catch(
      (err: unknown) => {
        this.logger.error({ err }, 'captured changes could not be pruned');
        return 0;
      },
    );
    if (pruned > 0) this.logger.info({ pruned }, 'captured changes pruned');
    if (garbage === undefined) return this.schedule(RETRY_MS, Math.min(2 * patienceMs, PATIENCE_MS.longest));
    if (garbage && Object.values(garbage).some((count: number) => count > 0)) this.logger.info(garbage, 'unneeded snapshots removed');
    this.schedule(INTERVAL_MS, PATIENCE_MS.first);
  }
}
