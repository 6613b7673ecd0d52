import { type DynamicModule, Global, Module } from '@nestjs/common';
import { DOWNLOAD_OPTIONS, type DownloadOptions } from './download-options.js';
import { Downloads } from './downloads.js';

@Global()
@Module({ providers: [Downloads], exports: [Downloads] })
export class DownloadModule {
  static forRoot(options: DownloadOptions): DynamicModule {
    return { module: DownloadModule, providers: [{ provide: DOWNLOAD_OPTIONS, useValue: options }] };
  }
}
