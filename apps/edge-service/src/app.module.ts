import { type DynamicModule, Module } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { ScheduleModule } from '@nestjs/schedule';
import { httpLogging, LOGGER } from '@waypost/runtime';
import { ProblemFilter } from '@waypost/runtime/service';
import { LoggerModule } from 'nestjs-pino';
import type { Logger } from 'pino';
import { AcksModule } from './acks/acks.module.js';
import { ApiModule } from './api/api.module.js';
import { AuditModule } from './audit/audit.module.js';
import { type CircuitLimits, DEFAULT_CIRCUIT_LIMITS } from './central/central-options.js';
import { CentralModule } from './central/central.module.js';
import type { EdgeConfig } from './config.js';
import { CycleModule } from './cycle/cycle.module.js';
import { DatabaseModule } from './database/database.module.js';
import { DownloadModule } from './download/download.module.js';
import { HealthModule } from './health/health.module.js';
import { IndexesModule } from './indexes/indexes.module.js';
import { LoadModule } from './load/load.module.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { IdentityModule } from './identity/identity.module.js';
import { MirrorModule } from './mirror/mirror.module.js';
import { PhaseModule } from './phase/phase.module.js';
import { ScheduleSyncModule } from './schedule/schedule.module.js';
import { ScrubModule } from './scrub/scrub.module.js';
import { SettingsModule } from './settings.module.js';
import { StateModule } from './state/state.module.js';
import { TrustModule } from './trust/trust.module.js';
import { StatusModule } from './status/status.module.js';
import { WitnessModule } from './witness/witness.module.js';

/** The edge service, from the database up to its API. Each module uses only those above it. One with options is global: it exists once. */
@Module({})
export class AppModule {
  static forRoot(config: EdgeConfig, logger: Logger, circuit: CircuitLimits = DEFAULT_CIRCUIT_LIMITS): DynamicModule {
    const deviceMac = config.DEVICE_MAC;
    const syncIntervalMs = config.SYNC_INTERVAL;
    const requestTimeoutMs = config.REQUEST_TIMEOUT;
    const stallTimeoutMs = config.STALL_TIMEOUT;
    const downloads = { folder: config.DOWNLOAD_DIR, deadlineMs: config.DOWNLOAD_DEADLINE };
    return {
      module: AppModule,
      imports: [
        SettingsModule.forRoot(logger),
        LoggerModule.forRoot(httpLogging(logger)),
        ScheduleModule.forRoot(),
        DatabaseModule.forRoot({ url: config.DATABASE_URL }),
        MetricsModule.forRoot({ downloadFolder: downloads.folder, syncIntervalMs }),
        StateModule.forRoot({ adoptTables: config.ADOPT_TABLES }),
        IdentityModule.forRoot({ folder: config.IDENTITY_DIR, enrollmentToken: config.ENROLLMENT_TOKEN, mayReplaceKey: true, deviceMac }),
        CentralModule.forRoot({
          url: config.CENTRAL_URL,
          trust: { caFile: config.CENTRAL_CA, fingerprint: config.CENTRAL_FINGERPRINT },
          deviceMac,
          requestTimeoutMs,
          stallTimeoutMs,
          circuit,
        }),
        TrustModule,
        AuditModule.forRoot({ retentionMs: config.AUDIT_RETENTION }),
        PhaseModule,
        DownloadModule.forRoot({ ...downloads, deviceMac, stallTimeoutMs }),
        LoadModule.forRoot({
          strategy: config.LOAD_STRATEGY,
          lockTimeoutMs: config.LOCK_TIMEOUT,
          schemaMode: config.SCHEMA_MODE,
          sideEffectTables: config.SIDE_EFFECT_TABLES,
        }),
        AcksModule.forRoot({ deviceMac }),
        IndexesModule.forRoot({ lockTimeoutMs: config.LOCK_TIMEOUT }),
        StatusModule.forRoot({ syncIntervalMs }),
        MirrorModule.forRoot({
          deviceMac,
          schemaVersion: config.SCHEMA_VERSION,
          loadStrategy: config.LOAD_STRATEGY,
          requestTimeoutMs,
          downloadDeadlineMs: downloads.deadlineMs,
        }),
        WitnessModule,
        CycleModule.forRoot({ deviceMac }),
        ScheduleSyncModule.forRoot({ syncIntervalMs }),
        ScrubModule.forRoot({ intervalMs: config.SCRUB_INTERVAL }),
        HealthModule.forRoot({ syncIntervalMs, minFreeDiskBytes: config.MIN_FREE_DISK }),
        ApiModule,
      ],
      providers: [{ provide: APP_FILTER, useFactory: (root: Logger) => new ProblemFilter(root), inject: [LOGGER] }],
    };
  }
}
