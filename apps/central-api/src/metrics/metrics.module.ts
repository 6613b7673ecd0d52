import { type DynamicModule, Global, Module } from '@nestjs/common';
import { FleetMetrics } from './fleet-metrics.js';
import { METRICS_OPTIONS, type MetricsOptions } from './metrics-options.js';
import { SyncMetrics } from './sync-metrics.js';

@Global()
@Module({ providers: [SyncMetrics, FleetMetrics], exports: [METRICS_OPTIONS, SyncMetrics] })
export class MetricsModule {
  static forRoot(options: MetricsOptions): DynamicModule {
    return { module: MetricsModule, providers: [{ provide: METRICS_OPTIONS, useValue: options }] };
  }
}
