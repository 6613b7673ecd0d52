import { Module } from '@nestjs/common';
import { RequestAudit } from './request-audit.js';

@Module({ providers: [RequestAudit], exports: [RequestAudit] })
export class AuditModule {}
