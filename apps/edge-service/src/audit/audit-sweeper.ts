import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { LOGGER } from '@waypost/runtime';
import type { Logger } from 'pino';
import { Repository } from 'typeorm';
import { Database } from '../database/database.js';
import { SyncLogEntity } from '../database/entities/sync-log.entity.js';
import { AUDIT_OPTIONS, type AuditOptions } from './audit-options.js';
import { PRUNE_CYCLES, PRUNE_REFUSED_ACKS } from './audit.sql.js';

const INTERVAL_MS = 3_600_000;
const BATCH_ROWS = 500;
/** The pause after a batch, in durations of the batch: the device has other work. */
const PAUSE_FACTOR = 10;

/** Removes, at start and once an hour, what is older than the retention, in small batches. Hourly counts of it stay. */
@Injectable()
export class AuditSweeper implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly stop = new AbortController();
  private running: Promise<void> = Promise.resolve();

  constructor(
    @Inject(AUDIT_OPTIONS) private readonly options: AuditOptions,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly database: Database,
    @InjectRepository(SyncLogEntity) private readonly cycles: Repository<SyncLogEntity>,
  ) {}

  onApplicationBootstrap(): void {
    if (this.options.retentionMs > 0) this.running = this.run();
  }

  async onModuleDestroy(): Promise<void> {
    this.stop.abort();
    await this.running;
  }

  /** @returns how many cycles and acknowledgements were removed */
  async sweep(): Promise<number> {
    let total = 0;
    for (const statement of [PRUNE_REFUSED_ACKS, PRUNE_CYCLES]) {
      for (let removed = BATCH_ROWS; removed === BATCH_ROWS && !this.stop.signal.aborted;) {
        const startedAt = performance.now();
        [{ removed }] = await this.cycles.query<[{ removed: number }]>(statement, [this.options.retentionMs, BATCH_ROWS]);
        total += removed;
        if (removed === BATCH_ROWS) await this.pause(PAUSE_FACTOR * (performance.now() - startedAt));
      }
    }
    return total;
  }

  private async run(): Promise<void> {
    while (!this.stop.signal.aborted) {
      // A database that is not ready yet is tried again at the next turn.
      if (this.database.ready) {
        await this.sweep()
          .then((removed) => {
            if (removed > 0) this.logger.info({ removed }, 'audit pruned');
          })
          .catch((err: unknown) => this.logger.warn({ err }, 'the audit could not be pruned'));
        await this.pause(INTERVAL_MS);
      } else await this.pause(1000);
    }
  }

  private async pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.stop.signal, ref: false }).catch(() => undefined);
  }
}
