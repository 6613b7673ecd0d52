import { Module } from '@nestjs/common';
import { AuditModule } from '../audit/audit.module.js';
import { CaptureModule } from '../capture/capture.module.js';
import { ChunkStoreModule } from '../chunk-store/chunk-store.module.js';
import { EpochsModule } from '../epochs/epochs.module.js';
import { PlanModule } from '../plan/plan.module.js';
import { SnapshotsModule } from '../snapshots/snapshots.module.js';
import { ChunkStreamService } from './chunk-stream-service.js';
import { ManifestBuilder } from './manifest-builder.js';
import { ManifestIssuer } from './manifest-issuer.js';
import { UnchangedLookup } from './unchanged-lookup.js';

@Module({
  imports: [PlanModule, EpochsModule, AuditModule, ChunkStoreModule, CaptureModule, SnapshotsModule],
  providers: [ManifestBuilder, ManifestIssuer, UnchangedLookup, ChunkStreamService],
  exports: [ManifestBuilder, UnchangedLookup, ChunkStreamService],
})
export class ManifestsModule {}
