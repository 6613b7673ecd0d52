import { Module } from '@nestjs/common';
import { SnapshotBuilder } from './snapshot-builder.js';

@Module({ providers: [SnapshotBuilder], exports: [SnapshotBuilder] })
export class SnapshotsModule {}
