import { type DynamicModule, Global, Module } from '@nestjs/common';
import { AuditModule } from '../audit/audit.module.js';
import { CaptureModule } from '../capture/capture.module.js';
import { EpochsModule } from '../epochs/epochs.module.js';
import { SnapshotsModule } from '../snapshots/snapshots.module.js';
import { ChunkStreamService } from './chunk-stream-service.js';
import { ManifestBuilder } from './manifest-builder.js';
import { ManifestIssuer } from './manifest-issuer.js';
import { MANIFEST_OPTIONS, type ManifestOptions } from './manifest-options.js';
import { UnchangedLookup } from './unchanged-lookup.js';

@Global()
@Module({
  imports: [EpochsModule, AuditModule, CaptureModule, SnapshotsModule],
  providers: [ManifestBuilder, ManifestIssuer, UnchangedLookup, ChunkStreamService],
  exports: [ManifestBuilder, UnchangedLookup, ChunkStreamService],
})
export class ManifestsModule {
  static forRoot(options: ManifestOptions): DynamicModule {
    return { module: ManifestsModule, providers: [{ provide: MANIFEST_OPTIONS, useValue: options }] };
  }
}
