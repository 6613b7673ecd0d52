import { Module } from '@nestjs/common';
import { ChangeTracker } from './change-tracker.js';
import { OldestTransaction } from './oldest-transaction.js';
import { TableReadCache } from './table-read-cache.js';

@Module({
  providers: [ChangeTracker, TableReadCache, OldestTransaction],
  exports: [ChangeTracker, TableReadCache],
})
export class CaptureModule {}
