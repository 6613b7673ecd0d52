import { Controller, Get, Res } from '@nestjs/common';
import { HealthCheck, HealthCheckService, type HealthCheckResult } from '@nestjs/terminus';
import type { FastifyReply } from 'fastify';
import { HealthIndicators } from './health-indicators.js';
import { SyncMetrics } from '../metrics/sync-metrics.js';

@Controller()
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly indicators: HealthIndicators,
    private readonly metrics: SyncMetrics,
  ) {}

  /** The process lives. */
  @Get('healthz')
  live(): { status: 'ok' } {
    return { status: 'ok' };
  }

  /** Requests can be answered; 503 with the reasons when they cannot. */
  @Get('health')
  @HealthCheck()
  ready(): Promise<HealthCheckResult> {
    return this.health.check([
      () => this.indicators.database(),
      () => this.indicators.migrations(),
      () => this.indicators.store(),
      () => this.indicators.disk(),
      () => this.indicators.identity(),
      () => this.indicators.ledger(),
    ]);
  }

  @Get('metrics')
  async scrape(@Res() reply: FastifyReply): Promise<void> {
    const { registry } = this.metrics;
    await reply.header('content-type', registry.contentType).send(await registry.metrics());
  }
}
