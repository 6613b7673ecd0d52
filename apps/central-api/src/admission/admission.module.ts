import { type DynamicModule, Global, Module } from '@nestjs/common';
import { ADMISSION_OPTIONS, type AdmissionOptions } from './admission-options.js';
import { DownloadLimiter } from './download-limiter.js';
import { ManifestService } from './manifest-service.js';

@Global()
@Module({
  providers: [
    ManifestService,
    {
      provide: DownloadLimiter,
      inject: [ADMISSION_OPTIONS],
      useFactory: ({ maxDownloads, maxDownloadsPerDevice: maxPerDevice }: AdmissionOptions) =>
        new DownloadLimiter({ maxDownloads, maxPerDevice }),
    },
  ],
  exports: [ManifestService, DownloadLimiter],
})
export class AdmissionModule {
  static forRoot(options: AdmissionOptions): DynamicModule {
    return { module: AdmissionModule, providers: [{ provide: ADMISSION_OPTIONS, useValue: options }] };
  }
}
