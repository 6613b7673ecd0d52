import { type DynamicModule, Module } from '@nestjs/common';
import { httpLogging } from '@waypost/runtime';
import { LoggerModule } from 'nestjs-pino';
import type { Logger } from 'pino';
import { AcksModule } from './acks/acks.module.js';
import { AdmissionModule } from './admission/admission.module.js';
import { AuditModule } from './audit/audit.module.js';
import { CaptureModule } from './capture/capture.module.js';
import { ChunkStoreModule } from './chunk-store/chunk-store.module.js';
import type { Config } from './config.js';
import { DatabaseModule } from './database/database.module.js';
import { EpochsModule } from './epochs/epochs.module.js';
import { HealthModule } from './health/health.module.js';
import { DeviceApiModule } from './http/device-api.module.js';
import { MaintenanceModule } from './maintenance/maintenance.module.js';
import { ManifestsModule } from './manifests/manifests.module.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { PlanModule } from './plan/plan.module.js';
import { ScopesModule } from './scopes/scopes.module.js';
import { SettingsModule } from './settings.module.js';
import { SnapshotsModule } from './snapshots/snapshots.module.js';

/** Central, from the database up to the devices. Each module uses only those above it. */
@Module({})
export class AppModule {
  static forRoot(config: Config, logger: Logger): DynamicModule {
    return {
      module: AppModule,
      imports: [
        SettingsModule.forRoot(config, logger),
        LoggerModule.forRoot(httpLogging(logger)),
        DatabaseModule,
        MetricsModule,
        EpochsModule,
        PlanModule,
        ScopesModule,
        AuditModule,
        ChunkStoreModule,
        CaptureModule,
        SnapshotsModule,
        ManifestsModule,
        AcksModule,
        AdmissionModule,
        MaintenanceModule,
        HealthModule,
        DeviceApiModule,
      ],
    };
  }
}
