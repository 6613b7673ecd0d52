import { type DynamicModule, Module } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import { AcksModule } from '../acks/acks.module.js';
import { AuditModule } from '../audit/audit.module.js';
import { AckController } from './ack.controller.js';
import { AuditedProblemFilter } from './audited-problem.filter.js';
import { DEVICE_API_OPTIONS, type DeviceApiOptions } from './device-api-options.js';
import { DeviceGuard } from './device.guard.js';
import { DatabaseIdentityHeader } from './database-identity.js';
import { Authenticator } from './authenticate.js';
import { DownloadController } from './download.controller.js';
import { IdentityController } from './identity.controller.js';
import { LedgerController } from './ledger.controller.js';
import { LiveResponses } from './live-response.js';
import { RequestController } from './request.controller.js';
import { RevocationWatch } from './revocation-watch.js';
import { Traffic } from './traffic.js';

@Module({
  imports: [AuditModule, AcksModule],
  controllers: [RequestController, DownloadController, AckController, IdentityController, LedgerController],
  providers: [
    LiveResponses,
    DatabaseIdentityHeader,
    Traffic,
    Authenticator,
    RevocationWatch,
    { provide: APP_GUARD, useClass: DeviceGuard },
    { provide: APP_FILTER, useClass: AuditedProblemFilter },
  ],
})
export class DeviceApiModule {
  static forRoot(options: DeviceApiOptions): DynamicModule {
    return { module: DeviceApiModule, providers: [{ provide: DEVICE_API_OPTIONS, useValue: options }] };
  }
}
