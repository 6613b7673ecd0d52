import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { ChunkStoreModule } from '../chunk-store/chunk-store.module.js';
import { HealthController } from './health.controller.js';
import { HealthIndicators } from './health-indicators.js';

@Module({
  // No log line for each probe that fails.
  imports: [TerminusModule.forRoot({ logger: false }), ChunkStoreModule],
  controllers: [HealthController],
  providers: [HealthIndicators],
})
export class HealthModule {}
