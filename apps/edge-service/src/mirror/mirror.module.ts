import { Module } from '@nestjs/common';
import { AcksModule } from '../acks/acks.module.js';
import { AuditModule } from '../audit/audit.module.js';
import { DownloadModule } from '../download/download.module.js';
import { LoadModule } from '../load/load.module.js';
import { PhaseModule } from '../phase/phase.module.js';
import { StateModule } from '../state/state.module.js';
import { CompareMirror } from './compare-mirror.js';
import { FirstSync } from './first-sync.js';
import { RecordSuccess } from './record-success.js';
import { ReplaceTables } from './replace-tables.js';
import { RequestManifest } from './request-manifest.js';
import { UpdateMirror } from './update-mirror.js';

@Module({
  imports: [StateModule, AuditModule, PhaseModule, DownloadModule, LoadModule, AcksModule],
  providers: [RequestManifest, CompareMirror, FirstSync, ReplaceTables, RecordSuccess, UpdateMirror],
  exports: [UpdateMirror],
})
export class MirrorModule {}
