import { type DynamicModule, Module } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { TerminusModule } from '@nestjs/terminus';
import { httpLogging, LOGGER } from '@waypost/runtime';
import { LoggerModule } from 'nestjs-pino';
import pg from 'pg';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { StoreAck } from './acks/ack-service.js';
import { AuditSweeper } from './maintenance/audit-sweeper.js';
import { AuditedProblemFilter } from './http/audited-problem.filter.js';
import { RequestAudit } from './audit/request-audit.js';
import { Canary } from './maintenance/canary.js';
import { ChangeWatch } from './capture/change-tracker.js';
import { FindUnchanged } from './manifests/unchanged-lookup.js';
import { ShadowReads } from './maintenance/shadow-reads.js';
import { TableReads } from './capture/table-read-cache.js';
import { CONFIG, type Config } from './config.js';
import { BUILD_POOL, DatabaseModule } from './database/database.module.js';
import { HealthController } from './health/health.controller.js';
import { FleetMetrics } from './metrics/fleet-metrics.js';
import { HealthIndicators } from './health/health-indicators.js';
import { OldestTransaction } from './capture/oldest-transaction.js';
import { SyncMetrics } from './metrics/sync-metrics.js';
import { Traffic } from './http/traffic.js';
import { EpochKeeper } from './epochs/epoch-keeper.js';
import { CHECKED_PLAN, checkPlan } from './plan/check-plan.js';
import { PlanRecheck } from './plan/plan-recheck.js';
import { readPlan } from './plan/read-plan.js';
import { ChunkCatalog } from './chunk-store/chunk-catalog.js';
import { FileBlobStore } from './chunk-store/blobs/file-blob-store.js';
import { PackStore } from './chunk-store/pack-store.js';
import { SNAPSHOT_STORE } from './chunk-store/snapshot-store.js';
import { SnapshotSweeper } from './maintenance/snapshot-sweeper.js';
import { FindShare } from './scopes/scope-group-resolver.js';
import { AnswerFlight } from './manifests/manifest-builder.js';
import { STORE_POOL } from './database/pools.js';
import { AnswerRequest } from './admission/manifest-service.js';
import { DownloadPlaces } from './admission/download-limiter.js';
import { LiveAnswers } from './http/live-response.js';
import { OpenChunkStream } from './manifests/chunk-stream-service.js';
import { SyncController } from './http/sync.controller.js';

/** Values that everything else is made of. */
@Module({})
class FoundationModule {
  static with(config: Config, logger: Logger): DynamicModule {
    const providers = [
      { provide: CONFIG, useValue: config },
      { provide: LOGGER, useValue: logger },
    ];
    return { module: FoundationModule, global: true, providers, exports: providers };
  }
}

@Module({})
export class AppModule {
  static with(config: Config, logger: Logger): DynamicModule {
    return {
      module: AppModule,
      imports: [
        FoundationModule.with(config, logger),
        LoggerModule.forRoot(httpLogging(logger)),
        DatabaseModule,
        // Not a line for each probe that finds something wrong.
        TerminusModule.forRoot({ logger: false }),
      ],
      controllers: [SyncController, HealthController],
      providers: [
        {
          provide: CHECKED_PLAN,
          // The data source waits for a database that starts; the pool would not.
          inject: [BUILD_POOL, DataSource],
          useFactory: async (pool: pg.Pool) => checkPlan(pool, await readPlan(config.SYNC_PLAN)),
        },
        {
          provide: PackStore,
          inject: [STORE_POOL],
          useFactory: (pool: pg.Pool) =>
            new PackStore({
              blobs: new FileBlobStore(config.SNAPSHOT_STORE.folder),
              catalog: new ChunkCatalog(pool),
              logger,
              limitBytes: config.SNAPSHOT_STORE_LIMIT || Infinity,
            }),
        },
        { provide: SNAPSHOT_STORE, useExisting: PackStore },
        SnapshotSweeper,
        EpochKeeper,
        PlanRecheck,
        ChangeWatch,
        ShadowReads,
        Canary,
        FindUnchanged,
        TableReads,
        FindShare,
        AnswerFlight,
        AnswerRequest,
        OpenChunkStream,
        LiveAnswers,
        {
          provide: DownloadPlaces,
          useFactory: () => new DownloadPlaces({ maxDownloads: config.MAX_DOWNLOADS, maxPerDevice: config.MAX_DOWNLOADS_PER_DEVICE }),
        },
        StoreAck,
        RequestAudit,
        AuditSweeper,
        SyncMetrics,
        FleetMetrics,
        OldestTransaction,
        HealthIndicators,
        Traffic,
        { provide: APP_FILTER, useClass: AuditedProblemFilter },
      ],
    };
  }
}
