import { Module } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { AcksModule } from '../acks/acks.module.js';
import { AdmissionModule } from '../admission/admission.module.js';
import { AuditModule } from '../audit/audit.module.js';
import { MaintenanceModule } from '../maintenance/maintenance.module.js';
import { ManifestsModule } from '../manifests/manifests.module.js';
import { AuditedProblemFilter } from './audited-problem.filter.js';
import { DatabaseIdentityHeader } from './database-identity.js';
import { LiveResponses } from './live-response.js';
import { SyncController } from './sync.controller.js';
import { Traffic } from './traffic.js';

@Module({
  imports: [AuditModule, ManifestsModule, AdmissionModule, AcksModule, MaintenanceModule],
  controllers: [SyncController],
  providers: [LiveResponses, DatabaseIdentityHeader, Traffic, { provide: APP_FILTER, useClass: AuditedProblemFilter }],
})
export class DeviceApiModule {}
