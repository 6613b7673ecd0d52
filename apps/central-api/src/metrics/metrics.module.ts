import { Global, Module } from '@nestjs/common';
import { FleetMetrics } from './fleet-metrics.js';
import { SyncMetrics } from './sync-metrics.js';

@Global()
@Module({ providers: [SyncMetrics, FleetMetrics], exports: [SyncMetrics] })
export class MetricsModule {}
