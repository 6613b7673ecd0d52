import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { CentralModule } from '../central/central.module.js';
import { CycleModule } from '../cycle/cycle.module.js';
import { HealthController } from './health.controller.js';
import { HealthIndicators } from './health-indicators.js';

@Module({
  imports: [TerminusModule.forRoot({ logger: false }), CentralModule, CycleModule],
  controllers: [HealthController],
  providers: [HealthIndicators],
})
export class HealthModule {}
