import { Module } from '@nestjs/common';
import { CONFIG, type Config } from '../config.js';
import { ManifestsModule } from '../manifests/manifests.module.js';
import { ScopesModule } from '../scopes/scopes.module.js';
import { DownloadLimiter } from './download-limiter.js';
import { ManifestService } from './manifest-service.js';

@Module({
  imports: [ScopesModule, ManifestsModule],
  providers: [
    ManifestService,
    {
      provide: DownloadLimiter,
      inject: [CONFIG],
      useFactory: ({ MAX_DOWNLOADS: maxDownloads, MAX_DOWNLOADS_PER_DEVICE: maxPerDevice }: Config) =>
        new DownloadLimiter({ maxDownloads, maxPerDevice }),
    },
  ],
  exports: [ManifestService, DownloadLimiter],
})
export class AdmissionModule {}
