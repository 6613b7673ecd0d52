import { Controller, Get, Header, Inject } from '@nestjs/common';
import { HealthCheck, HealthCheckService, type HealthCheckResult, HealthIndicatorService, TypeOrmHealthIndicator } from '@nestjs/terminus';
import { SNAPSHOT_STORE, type SnapshotStore } from '../snapshots/snapshot-store.js';
import { SyncMetrics } from './sync-metrics.js';

const DATABASE_TIMEOUT_MS = 3000;

@Controller()
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly indicators: HealthIndicatorService,
    private readonly database: TypeOrmHealthIndicator,
    private readonly metrics: SyncMetrics,
    @Inject(SNAPSHOT_STORE) private readonly store: SnapshotStore,
  ) {}

  /** The process lives. */
  @Get('healthz')
  live(): { status: 'ok' } {
    return { status: 'ok' };
  }

  /** Requests can be answered: the database does, and snapshots can be stored. */
  @Get('health')
  @HealthCheck()
  ready(): Promise<HealthCheckResult> {
    return this.health.check([
      () => this.database.pingCheck('database', { timeout: DATABASE_TIMEOUT_MS }),
      async () => {
        const indicator = this.indicators.check('snapshotStore');
        return this.store.check().then(
          () => indicator.up(),
          (error: unknown) => indicator.down({ reason: (error as Error).message }),
        );
      },
    ]);
  }

  @Get('metrics')
  @Header('content-type', 'text/plain; version=0.0.4; charset=utf-8')
  scrape(): Promise<string> {
    return this.metrics.registry.metrics();
  }
}
