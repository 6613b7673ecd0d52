import { Inject, Injectable, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { SchedulerRegistry } from '@nestjs/schedule';
import { WaypostError } from '@waypost/contracts';
import { LOGGER } from '@waypost/runtime';
import type { Logger } from 'pino';
import { CycleRunner } from '../cycle/cycle-runner.js';
import { SyncStatus } from '../status/sync-status.js';
import { nextDelayMs } from './next-delay.js';
import { SCHEDULE_OPTIONS, type ScheduleOptions } from './schedule-options.js';

const TIMER = 'sync';
/** Spreads the first cycles of devices that were switched on together. */
const START_JITTER_MS = 1000;

/** One loop that sets its own next timer after each cycle, so that cycles never overlap. */
@Injectable()
export class SyncSchedule implements OnApplicationBootstrap, OnModuleDestroy {
  private stopped = false;

  constructor(
    @Inject(SCHEDULE_OPTIONS) private readonly options: ScheduleOptions,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly registry: SchedulerRegistry,
    private readonly runner: CycleRunner,
    private readonly status: SyncStatus,
  ) {}

  onApplicationBootstrap(): void {
    this.status.restore().catch((error: unknown) => this.logger.warn({ err: error }, 'the status could not be restored'));
    if (this.options.syncIntervalMs > 0) this.runIn(Math.random() * START_JITTER_MS);
  }

  /** The runner waits for the cycle in progress. */
  onModuleDestroy(): void {
    this.stopped = true;
    if (this.registry.doesExist('timeout', TIMER)) this.registry.deleteTimeout(TIMER);
  }

  private runIn(delayMs: number): void {
    if (this.stopped) return;
    const timer = setTimeout(() => {
      this.registry.deleteTimeout(TIMER);
      void this.tick();
    }, delayMs);
    this.registry.addTimeout(TIMER, timer);
  }

  private async tick(): Promise<void> {
    try {
      await this.runner.run({ trigger: 'schedule', verify: false });
    } catch (error) {
      const expected = error instanceof WaypostError && (error.code === 'SYNC_RUNNING' || error.code === 'SHUTTING_DOWN');
      if (!expected) this.logger.error({ err: error }, 'the scheduled cycle could not run');
    }
    const { consecutiveFailures, lastError: error } = this.status;
    const delayMs = nextDelayMs({ intervalMs: this.options.syncIntervalMs, consecutiveFailures, error }, Math.random());
    this.logger.debug({ delayMs, consecutiveFailures }, 'next cycle scheduled');
    this.runIn(delayMs);
  }
}
