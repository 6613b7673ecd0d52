import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { LOGGER, pause } from '@waypost/runtime';
import type { Logger } from 'pino';
import { Repository } from 'typeorm';
import { SyncLogEntity } from '../database/entities/sync-log.entity.js';
import { PRUNE_CYCLES, PRUNE_DRIFTS, PRUNE_RECEIPTS, PRUNE_REFUSED_ACKS, PRUNE_SCRUBS } from './audit.sql.js';
import { AUDIT_OPTIONS, type AuditOptions } from './audit-options.js';

const BATCH_ROWS = 500;
/** The pause after a batch, in durations of the batch: the device has other work. */
const PAUSE_FACTOR = 10;

/** Removes what is older than the retention, in small batches. Hourly counts of it stay. */
@Injectable()
export class AuditSweeper {
  constructor(
    @Inject(AUDIT_OPTIONS) private readonly options: AuditOptions,
    @Inject(LOGGER) private readonly logger: Logger,
    @InjectRepository(SyncLogEntity) private readonly cycles: Repository<SyncLogEntity>,
  ) {}

  async sweep(signal: AbortSignal): Promise<void> {
    let total = 0;
    for (const statement of [PRUNE_REFUSED_ACKS, PRUNE_RECEIPTS, PRUNE_DRIFTS, PRUNE_SCRUBS, PRUNE_CYCLES]) {
      for (let removed = BATCH_ROWS; removed === BATCH_ROWS && !signal.aborted;) {
        const startedAt = performance.now();
        [{ removed }] = await this.cycles.query<[{ removed: number }]>(statement, [this.options.retentionMs, BATCH_ROWS]);
        total += removed;
        if (removed === BATCH_ROWS) await pause(PAUSE_FACTOR * (performance.now() - startedAt), signal);
      }
    }
    if (total > 0) this.logger.info({ removed: total }, 'audit pruned');
  }
}
