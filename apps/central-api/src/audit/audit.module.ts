import { Module } from '@nestjs/common';
import { CountedRefusals } from './counted-refusals.js';
import { RequestAudit } from './request-audit.js';

@Module({ providers: [CountedRefusals, RequestAudit], exports: [RequestAudit] })
export class AuditModule {}
