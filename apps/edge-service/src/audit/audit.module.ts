import { type DynamicModule, Global, Inject, Module, type OnApplicationBootstrap } from '@nestjs/common';
import { PeriodicTasks } from '@waypost/runtime/service';
import { Database } from '../database/database.js';
import { AUDIT_OPTIONS, type AuditOptions } from './audit-options.js';
import { AuditSweeper } from './audit-sweeper.js';
import { SyncLog } from './sync-log.js';

const SWEEP_INTERVAL_MS = 3_600_000;
/** How soon the sweep looks again whether the database is ready. */
const DATABASE_RETRY_MS = 1000;

/** The audit, and its sweep: at start and once an hour. */
@Global()
@Module({ providers: [SyncLog, AuditSweeper, PeriodicTasks], exports: [SyncLog] })
export class AuditModule implements OnApplicationBootstrap {
  static forRoot(options: AuditOptions): DynamicModule {
    return { module: AuditModule, providers: [{ provide: AUDIT_OPTIONS, useValue: options }] };
  }

  constructor(
    @Inject(AUDIT_OPTIONS) private readonly options: AuditOptions,
    private readonly tasks: PeriodicTasks,
    private readonly sweeper: AuditSweeper,
    private readonly database: Database,
  ) {}

  onApplicationBootstrap(): void {
    if (this.options.retentionMs === 0) return;
    this.tasks.start({
      name: 'sweep audit',
      run: async (signal) => {
        if (!this.database.ready) return DATABASE_RETRY_MS;
        await this.sweeper.sweep(signal);
        return SWEEP_INTERVAL_MS;
      },
      waitMs: (nextMs) => nextMs ?? SWEEP_INTERVAL_MS,
      failure: 'the audit could not be pruned',
    });
  }
}
