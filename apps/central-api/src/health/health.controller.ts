import { Controller, Get, HttpException, Req, Res } from '@nestjs/common';
import { HealthCheck, HealthCheckService, type HealthCheckResult } from '@nestjs/terminus';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { HealthIndicators } from './health-indicators.js';
import { SyncMetrics } from '../metrics/sync-metrics.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Whether who asks may know what is wrong, not only that something is. */
    seesDetails?: boolean;
  }
}

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

  /** Requests can be answered; 503 when they cannot, for operators with the reasons. */
  @Get('health')
  @HealthCheck()
  async ready(@Req() { seesDetails }: FastifyRequest): Promise<HealthCheckResult> {
    if (seesDetails) return this.check();
    try {
      const { status } = await this.check();
      return { status, details: {} };
    } catch (error) {
      throw error instanceof HttpException ? new HttpException({ status: 'error', details: {} }, error.getStatus()) : error;
    }
  }

  private check(): Promise<HealthCheckResult> {
    return this.health.check([
      () => this.indicators.database(),
      () => this.indicators.migrations(),
      () => this.indicators.store(),
      () => this.indicators.disk(),
      () => this.indicators.identity(),
      () => this.indicators.trust(),
      () => this.indicators.ledger(),
    ]);
  }

  @Get('metrics')
  async scrape(@Res() reply: FastifyReply): Promise<void> {
    const { registry } = this.metrics;
    await reply.header('content-type', registry.contentType).send(await registry.metrics());
  }
}
