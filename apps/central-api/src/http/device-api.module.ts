import { Module } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import { AcksModule } from '../acks/acks.module.js';
import { AdmissionModule } from '../admission/admission.module.js';
import { AuditModule } from '../audit/audit.module.js';
import { MaintenanceModule } from '../maintenance/maintenance.module.js';
import { ManifestsModule } from '../manifests/manifests.module.js';
import { AckController } from './ack.controller.js';
import { AuditedProblemFilter } from './audited-problem.filter.js';
import { DeviceGuard } from './device.guard.js';
import { DatabaseIdentityHeader } from './database-identity.js';
import { DownloadController } from './download.controller.js';
import { LiveResponses } from './live-response.js';
import { RequestController } from './request.controller.js';
import { Traffic } from './traffic.js';

@Module({
  imports: [AuditModule, ManifestsModule, AdmissionModule, AcksModule, MaintenanceModule],
  controllers: [RequestController, DownloadController, AckController],
  providers: [
    LiveResponses,
    DatabaseIdentityHeader,
    Traffic,
    { provide: APP_GUARD, useClass: DeviceGuard },
    { provide: APP_FILTER, useClass: AuditedProblemFilter },
  ],
})
export class DeviceApiModule {}
