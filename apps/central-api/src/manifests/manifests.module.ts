import { type DynamicModule, Global, Module } from '@nestjs/common';
import { AuditModule } from '../audit/audit.module.js';
import { CaptureModule } from '../capture/capture.module.js';
import { EpochsModule } from '../epochs/epochs.module.js';
import { SnapshotsModule } from '../snapshots/snapshots.module.js';
import { DeltasModule } from '../deltas/deltas.module.js';
import { DeltaService } from './delta-service.js';
import { ChunkStreamService } from './chunk-stream-service.js';
import { ManifestBuilder } from './manifest-builder.js';
import { ManifestIssuer } from './manifest-issuer.js';
import { MANIFEST_OPTIONS, type ManifestOptions } from './manifest-options.js';
import { UnchangedLookup } from './unchanged-lookup.js';

@Global()
@Module({
  imports: [EpochsModule, AuditModule, CaptureModule, SnapshotsModule, DeltasModule],
  providers: [ManifestBuilder, ManifestIssuer, UnchangedLookup, ChunkStreamService, DeltaService],
  exports: [ManifestBuilder, UnchangedLookup, ChunkStreamService, DeltaService],
})
export class ManifestsModule {
  static forRoot(options: ManifestOptions): DynamicModule {
    return { module: ManifestsModule, providers: [{ provide: MANIFEST_OPTIONS, useValue: options }] };
  }
}
