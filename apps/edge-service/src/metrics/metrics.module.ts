import { Global, Module } from '@nestjs/common';
import { DownloadDisk } from './download-disk.js';
import { MetricsController } from './metrics.controller.js';
import { Metrics } from './metrics.js';

@Global()
@Module({ controllers: [MetricsController], providers: [DownloadDisk, Metrics], exports: [DownloadDisk, Metrics] })
export class MetricsModule {}
