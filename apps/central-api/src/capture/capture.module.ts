import { Module } from '@nestjs/common';
import { ChunkStoreModule } from '../chunk-store/chunk-store.module.js';
import { PlanModule } from '../plan/plan.module.js';
import { ChangeTracker } from './change-tracker.js';
import { OldestTransaction } from './oldest-transaction.js';
import { TableReadCache } from './table-read-cache.js';

@Module({
  imports: [PlanModule, ChunkStoreModule],
  providers: [ChangeTracker, TableReadCache, OldestTransaction],
  exports: [ChangeTracker, TableReadCache],
})
export class CaptureModule {}
