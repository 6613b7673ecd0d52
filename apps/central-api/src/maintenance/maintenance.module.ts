import { Module } from '@nestjs/common';
import { CaptureModule } from '../capture/capture.module.js';
import { ChunkStoreModule } from '../chunk-store/chunk-store.module.js';
import { PlanModule } from '../plan/plan.module.js';
import { AuditSweeper } from './audit-sweeper.js';
import { Canary } from './canary.js';
import { ShadowReads } from './shadow-reads.js';
import { SnapshotSweeper } from './snapshot-sweeper.js';

/** What runs in the background, on its own schedule. */
@Module({
  imports: [PlanModule, ChunkStoreModule, CaptureModule],
  providers: [SnapshotSweeper, AuditSweeper, ShadowReads, Canary],
  exports: [ShadowReads],
})
export class MaintenanceModule {}
