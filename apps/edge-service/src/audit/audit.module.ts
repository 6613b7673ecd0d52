import { type DynamicModule, Global, Module } from '@nestjs/common';
import { AUDIT_OPTIONS, type AuditOptions } from './audit-options.js';
import { AuditSweeper } from './audit-sweeper.js';
import { SyncLog } from './sync-log.js';

@Global()
@Module({ providers: [SyncLog, AuditSweeper], exports: [SyncLog] })
export class AuditModule {
  static forRoot(options: AuditOptions): DynamicModule {
    return { module: AuditModule, providers: [{ provide: AUDIT_OPTIONS, useValue: options }] };
  }
}
