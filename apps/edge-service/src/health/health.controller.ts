import { Controller, Get, Res } from '@nestjs/common';
import { HealthCheck, HealthCheckService } from '@nestjs/terminus';
import { PROBLEM_TYPE, toProblem, WaypostError } from '@waypost/contracts';
import type { FastifyReply } from 'fastify';
import { DataReadiness } from './data-readiness.js';
import { HealthIndicators } from './health-indicators.js';

/** For those who wait for data in a loop. */
const RETRY_AFTER_S = 2;

@Controller()
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly indicators: HealthIndicators,
    private readonly data: DataReadiness,
  ) {}

  /** The process runs. */
  @Get('healthz')
  live(): { status: string } {
    return { status: 'ok' };
  }

  /** The service does its work; 503 with the reasons when it does not. */
  @Get('health')
  @HealthCheck()
  ready() {
    return this.health.check([
      () => this.indicators.database(),
      () => this.indicators.migrations(),
      () => this.indicators.disk(),
      () => this.indicators.sync(),
      () => this.indicators.central(),
      () => this.indicators.trust(),
      () => this.indicators.ledger(),
    ]);
  }

  /** Readers may start: 503 until the first verified load is committed. Answered here, as a client that waits is no error to log. */
  @Get('health/data')
  async dataReady(@Res() reply: FastifyReply): Promise<void> {
    const found = await this.data.find();
    reply.header('cache-control', 'no-store');
    if (!(found instanceof WaypostError)) return void (await reply.send(found));
    await reply.status(found.status).headers({ 'content-type': PROBLEM_TYPE, 'retry-after': RETRY_AFTER_S }).send(toProblem(found));
  }
}
