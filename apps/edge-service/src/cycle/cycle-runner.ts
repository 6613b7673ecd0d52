import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { describeSpan, failSpan, LOGGER, newId, traced, withContext } from '@waypost/runtime';
import { toWaypostError } from '@waypost/runtime/service';
import type { Logger } from 'pino';
import { shuttingDown } from '../central/race-abort.js';
import { Database } from '../database/database.js';
import type { Cycle, CycleOptions, CycleReport } from '../phase/cycle.js';
import { CycleLock } from './cycle-lock.js';
import { CYCLE_RUNNER_OPTIONS, type CycleRunnerOptions } from './cycle-runner-options.js';
import { SyncCycle } from './sync-cycle.js';
import { SyncStatus } from '../status/sync-status.js';

/** What a load in progress gets to finish when the service stops; docker kills after 10 s. */
const GRACE_MS = 5000;

/** Runs one cycle at a time and reports what became of it. */
@Injectable()
export class CycleRunner implements OnModuleDestroy {
  private current: Promise<CycleReport> | undefined;
  private readonly stop = new AbortController();
  private readonly forceStop = new AbortController();

  constructor(
    @Inject(CYCLE_RUNNER_OPTIONS) private readonly options: CycleRunnerOptions,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly database: Database,
    private readonly lock: CycleLock,
    private readonly cycle: SyncCycle,
    private readonly status: SyncStatus,
  ) {}

  /**
   * Runs a cycle to its end. A failed cycle is a report, too.
   * @throws WaypostError SYNC_RUNNING when one is running, here or in another process; why the database is not ready, when one waits for it; SHUTTING_DOWN
   */
  async run(options: CycleOptions): Promise<CycleReport> {
    if (this.stop.signal.aborted) throw shuttingDown();
    if (this.current) throw this.database.fault?.error ?? new WaypostError('SYNC_RUNNING');
    this.current = this.runOnce(options);
    try {
      return await this.current;
    } finally {
      this.current = undefined;
    }
  }

  /** Aborts at once what waits for the network, and after a while what is being loaded: PostgreSQL rolls it back. */
  async onModuleDestroy(): Promise<void> {
    this.stop.abort();
    const done = this.current?.catch(() => undefined);
    if (!done) return;
    this.logger.info('waiting for the cycle to end');
    await Promise.race([done, delay(GRACE_MS, undefined, { ref: false })]);
    this.forceStop.abort();
    await done;
  }

  /** All that a cycle logs and traces carries its id. */
  private async runOnce(options: CycleOptions): Promise<CycleReport> {
    const cycleId = newId();
    return withContext({ cycleId, mac: this.options.deviceMac }, () =>
      traced('cycle', { root: true, attributes: { 'waypost.trigger': options.trigger, 'waypost.verify': options.verify } }, async () => {
        const report = await this.runNow(cycleId, options);
        const { status, rowsLoaded, rawBytes, progress, error } = report;
        describeSpan({
          'waypost.status': status,
          'waypost.rows': rowsLoaded,
          'waypost.raw_bytes': rawBytes,
          'waypost.received_bytes': progress.downloadedBytes,
        });
        if (error) failSpan(error.code);
        return report;
      }),
    );
  }

  private async runNow(cycleId: string, options: CycleOptions): Promise<CycleReport> {
    const log = this.logger;
    const startedAt = new Date();
    const startMs = performance.now();
    const elapsedMs = (): number => Math.round(performance.now() - startMs);
    const cycle: Cycle = {
      ...options,
      cycleId,
      startedAt,
      elapsedMs,
      log,
      stop: this.stop.signal,
      forceStop: this.forceStop.signal,
      progress: { downloadedBytes: 0, ack: 'none' },
    };
    const base = { cycleId, startedAt, progress: cycle.progress };
    const report = await this.lock
      .hold((client, isReplaced) => {
        this.status.started(startedAt);
        if (isReplaced) this.status.forget();
        return this.cycle.run(cycle, client, isReplaced);
      })
      .then(
        (done): CycleReport => ({ ...base, ...done, durationMs: elapsedMs() }),
        (thrown: unknown): CycleReport => ({ ...base, ...failed(thrown), durationMs: elapsedMs() }),
      );
    if (report.error?.code === 'SYNC_RUNNING') {
      this.status.abandoned();
      throw report.error;
    }
    this.status.finished(report, log);
    if (!report.error)
      await this.status.countRetainedRows(report.keptRows).catch((err: unknown) => log.warn({ err }, 'retained rows could not be counted'));
    return report;
  }
}

function failed(thrown: unknown): Omit<CycleReport, 'cycleId' | 'startedAt' | 'progress' | 'durationMs'> {
  return { status: 'Failed', tables: [], rowsLoaded: 0, rawBytes: 0, error: toWaypostError(thrown) };
}
