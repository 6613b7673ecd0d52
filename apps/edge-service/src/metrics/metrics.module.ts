import { type DynamicModule, Global, Module } from '@nestjs/common';
import { DownloadDisk } from './download-disk.js';
import { METRICS_OPTIONS, type MetricsOptions } from './metrics-options.js';
import { MetricsController } from './metrics.controller.js';
import { Metrics } from './metrics.js';

@Global()
@Module({ controllers: [MetricsController], providers: [DownloadDisk, Metrics], exports: [DownloadDisk, Metrics] })
export class MetricsModule {
  static forRoot(options: MetricsOptions): DynamicModule {
    return { module: MetricsModule, providers: [{ provide: METRICS_OPTIONS, useValue: options }] };
  }
}
