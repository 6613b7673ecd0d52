import { type DynamicModule, Module } from '@nestjs/common';

import { LoggerModule } from 'nestjs-pino';
import { httpLogging } from '@waypost/runtime';
import type { Logger } from 'pino';
import { AcksModule } from './acks/acks.module.js';
import { AdmissionModule } from './admission/admission.module.js';
import { AuditModule } from './audit/audit.module.js';
import { CaptureModule } from './capture/capture.module.js';
import { ChunkStoreModule } from './chunk-store/chunk-store.module.js';
import { type Config, tlsFilesOf } from './config.js';
import { DatabaseModule } from './database/database.module.js';
import { EpochsModule } from './epochs/epochs.module.js';
import { HealthModule } from './health/health.module.js';
import { DeviceApiModule } from './http/device-api.module.js';
import { IdentityModule } from './identity/identity.module.js';
import { LedgerModule } from './ledger/ledger.module.js';
import { MaintenanceModule } from './maintenance/maintenance.module.js';
import { ManifestsModule } from './manifests/manifests.module.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { PlanModule } from './plan/plan.module.js';
import { ScopesModule } from './scopes/scopes.module.js';
import { SettingsModule } from './settings.module.js';
import { SnapshotsModule } from './snapshots/snapshots.module.js';
import { TrustModule } from './trust/trust.module.js';

/** Central, from the database up to the devices. Each module uses only those above it. One with options is global: it exists once. */
@Module({})
export class AppModule {
  static forRoot(config: Config, logger: Logger): DynamicModule {
    const maxBuilds = config.MAX_CONCURRENT_BUILDS;
    const maxPayloads = config.MAX_CONCURRENT_PAYLOADS;
    const queueTimeoutMs = config.BUILD_QUEUE_TIMEOUT;
    const buildTimeoutMs = config.BUILD_TIMEOUT;
    const lockTimeoutMs = config.LOCK_TIMEOUT;
    const payloadTimeoutMs = config.PAYLOAD_TIMEOUT;
    return {
      module: AppModule,
      imports: [
        SettingsModule.forRoot(logger),
        LoggerModule.forRoot(httpLogging(logger)),
        DatabaseModule.forRoot({ url: config.DATABASE_URL, maxBuilds, maxPayloads }),
        MetricsModule.forRoot({ staleAfterMs: config.DEVICE_STALE_AFTER, silentAfterMs: config.DEVICE_SILENT_AFTER }),
        EpochsModule,
        IdentityModule.forRoot({ mode: config.AUTH, tokenTtlMs: config.TOKEN_TTL, clientCertificates: config.TLS_CLIENT_AUTH }),
        TrustModule.forRoot({ manifestTtlMs: config.MANIFEST_TTL }),
        PlanModule.forRoot({ file: config.SYNC_PLAN }),
        ScopesModule.forRoot({ lockTimeoutMs, statementTimeoutMs: buildTimeoutMs }),
        LedgerModule,
        AuditModule,
        ChunkStoreModule.forRoot({ folder: config.SNAPSHOT_STORE.folder, limitBytes: config.SNAPSHOT_STORE_LIMIT }),
        CaptureModule,
        SnapshotsModule,
        ManifestsModule.forRoot({
          ttlMs: config.MANIFEST_TTL,
          maxShrink: config.MAX_SHRINK,
          buildTimeoutMs,
          lockTimeoutMs,
          deviceLockTimeoutMs: queueTimeoutMs,
          payloadTimeoutMs,
        }),
        AcksModule,
        AdmissionModule.forRoot({
          maxBuilds,
          maxPayloads,
          queueTimeoutMs,
          maxDownloads: config.MAX_DOWNLOADS,
          maxDownloadsPerDevice: config.MAX_DOWNLOADS_PER_DEVICE,
        }),
        MaintenanceModule.forRoot({
          snapshotRetention: {
            idleMs: config.SNAPSHOT_RETENTION,
            idleCount: config.SNAPSHOT_RETENTION_COUNT,
            baseMs: config.BASE_RETENTION,
          },
          auditRetentionMs: config.AUDIT_RETENTION,
          maxRequestMs: queueTimeoutMs + buildTimeoutMs + payloadTimeoutMs,
          buildTimeoutMs,
          lockTimeoutMs,
          shadowReadEvery: config.SHADOW_READS,
          canaryIntervalMs: config.CANARY_INTERVAL,
          tls: tlsFilesOf(config),
        }),
        HealthModule.forRoot({ minFreeDiskBytes: config.MIN_FREE_DISK }),
        DeviceApiModule.forRoot(
          {
            payloadTimeoutMs,
            downloadDeadlineMs: config.DOWNLOAD_DEADLINE,
            failedAttempts: config.FAILED_ATTEMPTS_LIMIT,
            enrollments: config.ENROLLMENT_LIMIT,
          },
          {
            metricsToken: config.METRICS_TOKEN,
            adminAddress: config.ADMIN_PORT === undefined ? undefined : { host: config.ADMIN_HOST, port: config.ADMIN_PORT },
          },
        ),
      ],
    };
  }
}
