import { type BeforeApplicationShutdown, Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import type { ErrorCode } from '@waypost/contracts';
import { LOGGER } from '@waypost/runtime';
import { PeriodicTasks } from '@waypost/runtime/service';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { COUNT_REFUSALS } from './audit.sql.js';

interface Count {
  operation: string;
  reason: ErrorCode;
  requests: number;
  durationMs: number;
  maxDurationMs: number;
}

const STORE_EVERY_MS = 60_000;

/** Refusals that are no rows of the audit: their numbers are stored by hour, once a minute and at the end of the process. */
@Injectable()
export class CountedRefusals implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private counts = new Map<string, Count>();

  constructor(
    private readonly dataSource: DataSource,
    private readonly tasks: PeriodicTasks,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.tasks.start({
      name: 'count refusals',
      run: () => this.store(),
      waitMs: STORE_EVERY_MS,
      firstWaitMs: STORE_EVERY_MS,
      failure: 'counts of refusals could not be stored yet',
    });
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.store().catch((err: unknown) => this.logger.warn({ err }, 'counts of refusals could not be stored'));
  }

  add(operation: string, reason: ErrorCode, durationMs: number): void {
    this.merge({ operation, reason, requests: 1, durationMs, maxDurationMs: durationMs });
  }

  /** @throws errors of pg; what was not stored is kept for the next time */
  async store(): Promise<void> {
    const counts = [...this.counts.values()];
    if (counts.length === 0) return;
    this.counts = new Map();
    try {
      await this.dataSource.query(
        COUNT_REFUSALS,
        (['operation', 'reason', 'requests', 'durationMs', 'maxDurationMs'] as const).map((column) => counts.map((count) => count[column])),
      );
    } catch (error) {
      for (const count of counts) this.merge(count);
      throw error;
    }
  }

  private merge(more: Count): void {
    const key = `${more.operation} ${more.reason}`;
    const count = this.counts.get(key);
    if (!count) return void this.counts.set(key, more);
    count.requests += more.requests;
    count.durationMs += more.durationMs;
    count.maxDurationMs = Math.max(count.maxDurationMs, more.maxDurationMs);
  }
}
