import { Module } from '@nestjs/common';
import { DeltaStore } from './delta-store.js';

@Module({ providers: [DeltaStore], exports: [DeltaStore] })
export class DeltasModule {}
