import { Module } from '@nestjs/common';
import { AcksModule } from '../acks/acks.module.js';
import { AuditModule } from '../audit/audit.module.js';
import { StateModule } from '../state/state.module.js';
import { SyncStatus } from './sync-status.js';

@Module({ imports: [StateModule, AuditModule, AcksModule], providers: [SyncStatus], exports: [SyncStatus] })
export class StatusModule {}
