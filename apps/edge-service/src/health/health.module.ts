import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { CentralModule } from '../central/central.module.js';
import { CycleModule } from '../cycle/cycle.module.js';
import { StateModule } from '../state/state.module.js';
import { DataReadiness } from './data-readiness.js';
import { HealthController } from './health.controller.js';
import { HealthIndicators } from './health-indicators.js';

@Module({
  imports: [TerminusModule.forRoot({ logger: false }), CentralModule, CycleModule, StateModule],
  controllers: [HealthController],
  providers: [DataReadiness, HealthIndicators],
})
export class HealthModule {}
