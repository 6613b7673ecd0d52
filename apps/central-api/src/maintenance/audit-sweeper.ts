import { Inject, Injectable } from '@nestjs/common';
import { AdvisoryLock, ADVISORY_NAMESPACE, LOGGER, pause, sqlStateOf, SqlState } from '@waypost/runtime';
import type { Logger } from 'pino';
import { DataSource, type EntityManager } from 'typeorm';
import { COUNT_HOURS, MARK_COUNTED, NEXT_HOURS, PRUNE } from './audit-sweeper.sql.js';
import { MAINTENANCE_OPTIONS, type MaintenanceOptions } from './maintenance-options.js';

/** A first start on an old audit counts day by day, so that no transaction is long. */
const HOURS_AT_ONCE = 24;
const BATCH_ROWS = 2000;
/** After each step it rests this many times as long as the step took: at most a quarter of one backend's time. */
const REST_FACTOR = 3;
/** After the longest request: time to write its audit row, which carries the request's start, and for clocks of replicas that differ. */
const AUDIT_LAG_MS = 10 * 60_000;

export interface SweepResult {
  hours: number;
  requests: number;
  failedAcks: number;
  driftReports: number;
  manifests: number;
}

/**
 * Counts the audit by hours and removes what is older than the retention, in small steps with rests between them.
 * Of several processes one works at a time; a step that dies leaves nothing half done.
 */
@Injectable()
export class AuditSweeper {
  private sweeping: Promise<SweepResult> | undefined;

  constructor(
    private readonly dataSource: DataSource,
    @Inject(MAINTENANCE_OPTIONS) private readonly options: MaintenanceOptions,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * Everything that there is to do now; or the sweep in progress. Ends early where another process is at it, or a lock is not
   * given at once.
   */
  sweep(signal?: AbortSignal): Promise<SweepResult> {
    this.sweeping ??= this.sweepOnce(signal).finally(() => (this.sweeping = undefined));
    return this.sweeping;
  }

  private async sweepOnce(signal?: AbortSignal): Promise<SweepResult> {
    const done: SweepResult = { hours: 0, requests: 0, failedAcks: 0, driftReports: 0, manifests: 0 };
    while (await this.step((manager) => this.countHours(manager, done), signal));
    if (this.options.auditRetentionMs > 0) await this.prune(done, signal);
    if (Object.values(done).some((count) => count > 0)) this.logger.info(done, 'audit swept');
    return done;
  }

  private async prune(done: SweepResult, signal?: AbortSignal): Promise<void> {
    for (const kind of ['requests', 'failedAcks', 'driftReports', 'manifests'] as const) {
      let removed = 0;
      const prune = async (manager: EntityManager): Promise<boolean> => {
        [, removed] = await manager.query<[unknown, number]>(PRUNE[kind], [this.options.auditRetentionMs, BATCH_ROWS]);
        done[kind] += removed;
        return removed === BATCH_ROWS;
      };
      while (await this.step(prune, signal));
    }
  }

  private async countHours(manager: EntityManager, done: SweepResult): Promise<boolean> {
    const lagMs = this.options.maxRequestMs + AUDIT_LAG_MS;
    const [next] = await manager.query<{ since: Date; until: Date; more: boolean }[]>(NEXT_HOURS, [HOURS_AT_ONCE, lagMs]);
    if (!next) return false;
    for (const statement of COUNT_HOURS) await manager.query(statement, [next.since, next.until]);
    await manager.query(MARK_COUNTED, [next.until]);
    done.hours += (next.until.getTime() - next.since.getTime()) / 3_600_000;
    return next.more;
  }

  /** @returns whether there is more to do */
  private async step(work: (manager: EntityManager) => Promise<boolean>, signal?: AbortSignal): Promise<boolean> {
    if (signal?.aborted) return false;
    const startedAt = performance.now();
    const more = await this.dataSource
      .transaction(async (manager) => {
        await manager.query("SET LOCAL lock_timeout = '250ms'; SET LOCAL statement_timeout = '60s'");
        const [lock] = await manager.query<[{ taken: boolean }]>('SELECT pg_try_advisory_xact_lock($1, $2) AS taken', [
          ADVISORY_NAMESPACE,
          AdvisoryLock.auditSweep,
        ]);
        return lock.taken && (await work(manager));
      })
      .catch((error: unknown) => {
        if (sqlStateOf(error) === SqlState.lockNotAvailable) return false;
        throw error;
      });
    if (more) await pause(REST_FACTOR * (performance.now() - startedAt), signal);
    return more;
  }
}
