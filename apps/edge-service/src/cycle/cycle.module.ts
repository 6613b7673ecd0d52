import { Module } from '@nestjs/common';
import { AcksModule } from '../acks/acks.module.js';
import { AuditModule } from '../audit/audit.module.js';
import { CentralModule } from '../central/central.module.js';
import { DownloadModule } from '../download/download.module.js';
import { LoadModule } from '../load/load.module.js';
import { StateModule } from '../state/state.module.js';
import { CompareMirror } from '../mirror/compare-mirror.js';
import { CycleLock } from './cycle-lock.js';
import { CycleRunner } from './cycle-runner.js';
import { CycleSteps } from '../phase/cycle-steps.js';
import { FirstSync } from '../mirror/first-sync.js';
import { ReplaceTables } from '../mirror/replace-tables.js';
import { RequestManifest } from '../mirror/request-manifest.js';
import { SyncCycle } from './sync-cycle.js';
import { SyncStatus } from '../status/sync-status.js';

@Module({
  imports: [CentralModule, DownloadModule, LoadModule, StateModule, AuditModule, AcksModule],
  providers: [CycleLock, RequestManifest, CompareMirror, CycleSteps, FirstSync, ReplaceTables, SyncCycle, SyncStatus, CycleRunner],
  exports: [CycleRunner, SyncStatus],
})
export class CycleModule {}
