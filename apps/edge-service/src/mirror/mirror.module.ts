import { type DynamicModule, Global, Module } from '@nestjs/common';
import { PhaseModule } from '../phase/phase.module.js';
import { CompareMirror } from './compare-mirror.js';
import { DeltaBases } from './delta-bases.js';
import { FirstSync } from './first-sync.js';
import { MIRROR_OPTIONS, type MirrorOptions } from './mirror-options.js';
import { RecordSuccess } from './record-success.js';
import { ReplaceTables } from './replace-tables.js';
import { RequestManifest } from './request-manifest.js';
import { UpdateMirror } from './update-mirror.js';

@Global()
@Module({
  imports: [PhaseModule],
  providers: [RequestManifest, CompareMirror, DeltaBases, FirstSync, ReplaceTables, RecordSuccess, UpdateMirror],
  exports: [UpdateMirror],
})
export class MirrorModule {
  static forRoot(options: MirrorOptions): DynamicModule {
    return { module: MirrorModule, providers: [{ provide: MIRROR_OPTIONS, useValue: options }] };
  }
}
