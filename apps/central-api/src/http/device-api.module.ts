import { type DynamicModule, Module } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import { AcksModule } from '../acks/acks.module.js';
import { AuditModule } from '../audit/audit.module.js';
import { AdminListener } from './admin-listener.js';
import { AckController } from './ack.controller.js';
import { AttemptLimits } from './attempt-limits.js';
import { AuditedProblemFilter } from './audited-problem.filter.js';
import { DEVICE_API_OPTIONS, type DeviceApiOptions } from './device-api-options.js';
import { DeviceGuard } from './device.guard.js';
import { DatabaseIdentityHeader } from './database-identity.js';
import { Authenticator } from './authenticate.js';
import { ClientCertificates } from './client-certificates.js';
import { DownloadController } from './download.controller.js';
import { IdentityController } from './identity.controller.js';
import { LedgerController } from './ledger.controller.js';
import { LiveResponses } from './live-response.js';
import { OperatorAccess } from './operator-access.js';
import { OPERATOR_OPTIONS, type OperatorOptions } from './operator-options.js';
import { RequestController } from './request.controller.js';
import { RevocationWatch } from './revocation-watch.js';
import { StatusController } from './status.controller.js';
import { TrustController } from './trust.controller.js';
import { Traffic } from './traffic.js';

@Module({
  imports: [AuditModule, AcksModule],
  controllers: [
    RequestController,
    DownloadController,
    AckController,
    IdentityController,
    StatusController,
    TrustController,
    LedgerController,
  ],
  providers: [
    LiveResponses,
    DatabaseIdentityHeader,
    Traffic,
    AttemptLimits,
    AdminListener,
    OperatorAccess,
    Authenticator,
    ClientCertificates,
    RevocationWatch,
    { provide: APP_GUARD, useClass: DeviceGuard },
    { provide: APP_FILTER, useClass: AuditedProblemFilter },
  ],
})
export class DeviceApiModule {
  static forRoot(options: DeviceApiOptions, operators: OperatorOptions): DynamicModule {
    return {
      module: DeviceApiModule,
      providers: [
        { provide: DEVICE_API_OPTIONS, useValue: options },
        { provide: OPERATOR_OPTIONS, useValue: operators },
      ],
    };
  }
}
