import { Module } from '@nestjs/common';
import { SyncLog } from './sync-log.js';

@Module({ providers: [SyncLog], exports: [SyncLog] })
export class AuditModule {}
