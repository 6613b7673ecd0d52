import { Module } from '@nestjs/common';
import { ChunkStoreModule } from '../chunk-store/chunk-store.module.js';
import { PlanModule } from '../plan/plan.module.js';
import { SnapshotBuilder } from './snapshot-builder.js';

@Module({ imports: [PlanModule, ChunkStoreModule], providers: [SnapshotBuilder], exports: [SnapshotBuilder] })
export class SnapshotsModule {}
