import { type DynamicModule, Module } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { TerminusModule } from '@nestjs/terminus';
import { httpLogging, LOGGER } from '@waypost/runtime';
import { LoggerModule } from 'nestjs-pino';
import pg from 'pg';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { StoreAck } from './acks/store-ack.js';
import { AuditSweeper } from './audit/audit-sweeper.js';
import { AuditedProblemFilter } from './audit/audited-problem.filter.js';
import { RequestAudit } from './audit/request-audit.js';
import { Canary } from './changes/canary.js';
import { ChangeWatch } from './changes/change-watch.js';
import { FindUnchanged } from './changes/find-unchanged.js';
import { ShadowReads } from './changes/shadow-reads.js';
import { TableReads } from './changes/table-reads.js';
import { CONFIG, type Config } from './config.js';
import { BUILD_POOL, DatabaseModule } from './database/database.module.js';
import { HealthController } from './health/health.controller.js';
import { FleetMetrics } from './health/fleet-metrics.js';
import { HealthIndicators } from './health/health-indicators.js';
import { OldestTransaction } from './health/oldest-transaction.js';
import { SyncMetrics } from './health/sync-metrics.js';
import { Traffic } from './health/traffic.js';
import { EpochKeeper } from './manifests/epoch-keeper.js';
import { CHECKED_PLAN, checkPlan } from './plan/check-plan.js';
import { PlanRecheck } from './plan/plan-recheck.js';
import { readPlan } from './plan/read-plan.js';
import { ChunkCatalog } from './snapshots/chunk-catalog.js';
import { FileBlobStore } from './snapshots/file-blob-store.js';
import { PackStore } from './snapshots/pack-store.js';
import { SNAPSHOT_STORE } from './snapshots/snapshot-store.js';
import { SnapshotSweeper } from './snapshots/snapshot-sweeper.js';
import { FindShare } from './scopes/find-share.js';
import { AnswerFlight } from './sync/answer-flight.js';
import { STORE_POOL } from './snapshots/store-pool.js';
import { AnswerRequest } from './sync/answer-request.js';
import { DownloadPlaces } from './sync/download-places.js';
import { LiveAnswers } from './sync/live-answer.js';
import { OpenChunkStream } from './sync/open-chunk-stream.js';
import { SyncController } from './sync/sync.controller.js';

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
