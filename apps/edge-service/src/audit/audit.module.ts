import { Module } from '@nestjs/common';
import { AuditSweeper } from './audit-sweeper.js';
import { SyncLog } from './sync-log.js';

@Module({ providers: [SyncLog, AuditSweeper], exports: [SyncLog] })
export class AuditModule {}
