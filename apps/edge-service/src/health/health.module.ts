import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { StateModule } from '../state/state.module.js';
import { StatusModule } from '../status/status.module.js';
import { DataReadiness } from './data-readiness.js';
import { HealthController } from './health.controller.js';
import { HealthIndicators } from './health-indicators.js';

@Module({
  imports: [TerminusModule.forRoot({ logger: false }), StateModule, StatusModule],
  controllers: [HealthController],
  providers: [DataReadiness, HealthIndicators],
})
export class HealthModule {}
