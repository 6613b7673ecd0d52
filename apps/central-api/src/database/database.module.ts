import { type DynamicModule, Global, Module, type OnApplicationShutdown } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { TypeOrmModule, type TypeOrmModuleOptions } from '@nestjs/typeorm';
import { WaypostError } from '@waypost/contracts';
import { AdvisoryLock, ADVISORY_NAMESPACE, databaseIsAnEdges, hasTablesOf, LOGGER, readableSettings } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import { DataSource, type DataSourceOptions, type QueryRunner } from 'typeorm';
import { DATABASE_OPTIONS, type DatabaseOptions } from './database-options.js';
import { POOL_PROVIDERS, POOL_TOKENS } from './pools.js';
import { CreateAudit1795000000000 } from './migrations/1795000000000-create-audit.js';
import { IndexManifestsBySequence1795100000000 } from './migrations/1795100000000-index-manifests-by-sequence.js';
import { AddCycleId1795350000000 } from './migrations/1795350000000-add-cycle-id.js';
import { CreateChanges1795500000000 } from './migrations/1795500000000-create-changes.js';
import { UncheckChanges1795510000000 } from './migrations/1795510000000-uncheck-changes.js';
import { CreateTableReads1795610000000 } from './migrations/1795610000000-create-table-reads.js';
import { CreateHeldShrinks1796300000000 } from './migrations/1796300000000-create-held-shrinks.js';
import { MarkUnneededContents1796300000010 } from './migrations/1796300000010-mark-unneeded-contents.js';
import { CreatePacks1795600000000 } from './migrations/1795600000000-create-packs.js';
import { CreateShadowReads1796400000000 } from './migrations/1796400000000-create-shadow-reads.js';
import { CreateCanaries1797000000100 } from './migrations/1797000000100-create-canaries.js';
import { MarkFrames1797000000200 } from './migrations/1797000000200-mark-frames.js';
import { AddBorderKeys1797100000000 } from './migrations/1797100000000-add-border-keys.js';
import { CreateTableDeltas1797100000100 } from './migrations/1797100000100-create-table-deltas.js';
import { CreateDriftReports1797400000000 } from './migrations/1797400000000-create-drift-reports.js';
import { IndexDriftReportsByDevice1797410000000 } from './migrations/1797410000000-index-drift-reports-by-device.js';
import { RemoveOldDeltas1797500000000 } from './migrations/1797500000000-remove-old-deltas.js';
import { StoreDeltasInParts1797200000000 } from './migrations/1797200000000-store-deltas-in-parts.js';
import { CreateDeviceStates1795300000000 } from './migrations/1795300000000-create-device-states.js';
import { CreateAuditViews1795400000000 } from './migrations/1795400000000-create-audit-views.js';
import { BoundDurations1796200000010 } from './migrations/1796200000010-bound-durations.js';
import { CreateDeviceAuthorities1797615000000 } from './migrations/1797615000000-create-device-authorities.js';
import { AddKeyRotation1797610000000 } from './migrations/1797610000000-add-key-rotation.js';
import { CreateTrust1797700000000 } from './migrations/1797700000000-create-trust.js';
import { CreateIdentities1797600000000 } from './migrations/1797600000000-create-identities.js';
import { CreateApiKeys1797620000000 } from './migrations/1797620000000-create-api-keys.js';
import { CreateHourlyRefusals1797620000010 } from './migrations/1797620000010-create-hourly-refusals.js';
import { CreateLedger1797630000000 } from './migrations/1797630000000-create-ledger.js';
import { CreateReceiptKeys1796200000000 } from './migrations/1796200000000-create-receipt-keys.js';

/** The first 30 failures to connect are taken for a database that starts. */
const RETRY_MS = 2000;

/** Options of Waypost's own tables in the central database. */
export function dataSourceOptions(url: string): DataSourceOptions {
  return {
    type: 'postgres',
    url,
    schema: 'waypost',
    applicationName: 'waypost-central',
    migrations: [
      CreateAudit1795000000000,
      IndexManifestsBySequence1795100000000,
      CreateDeviceStates1795300000000,
      AddCycleId1795350000000,
      CreateAuditViews1795400000000,
      CreateChanges1795500000000,
      UncheckChanges1795510000000,
      CreateTableReads1795610000000,
      CreatePacks1795600000000,
      CreateReceiptKeys1796200000000,
      BoundDurations1796200000010,
      CreateHeldShrinks1796300000000,
      MarkUnneededContents1796300000010,
      CreateShadowReads1796400000000,
      CreateCanaries1797000000100,
      MarkFrames1797000000200,
      AddBorderKeys1797100000000,
      CreateTableDeltas1797100000100,
      StoreDeltasInParts1797200000000,
      CreateDriftReports1797400000000,
      IndexDriftReportsByDevice1797410000000,
      RemoveOldDeltas1797500000000,
      CreateIdentities1797600000000,
      AddKeyRotation1797610000000,
      CreateDeviceAuthorities1797615000000,
      CreateApiKeys1797620000000,
      CreateHourlyRefusals1797620000010,
      CreateLedger1797630000000,
      CreateTrust1797700000000,
    ],
    migrationsTableName: 'central_migrations',
    migrationsTransactionMode: 'all',
    extra: { max: 5, connectionTimeoutMillis: 10_000, onConnect: readableSettings },
  };
}

/**
 * Connects and brings schema `waypost` up to date; replicas that start together take turns.
 * @throws WaypostError WRONG_DATABASE, before anything is written; errors of pg
 */
export async function openDataSource(options: DataSourceOptions): Promise<DataSource> {
  const dataSource = await new DataSource(options).initialize();
  const runner = dataSource.createQueryRunner();
  await runner.connect();
  await runner.query('SELECT pg_advisory_lock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.migrations]);
  try {
    await refuseAnEdges(runner);
    // CREATE SCHEMA IF NOT EXISTS would ask for the right to create one even where it exists.
    const existing = (await runner.query("SELECT FROM pg_namespace WHERE nspname = 'waypost'")) as unknown[];
    if (existing.length === 0) await runner.query('CREATE SCHEMA waypost');
    await dataSource.runMigrations();
  } finally {
    await runner.query('SELECT pg_advisory_unlock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.migrations]);
    await runner.release();
  }
  return dataSource;
}

/** A database with tables of both is central's: an older edge-service was started on it by mistake. */
async function refuseAnEdges(runner: QueryRunner): Promise<void> {
  const sides = `SELECT ${hasTablesOf('central')} AS central, ${hasTablesOf('edge')} AS edge`;
  const [found] = (await runner.query(sides)) as [Record<'central' | 'edge', boolean>];
  if (found.edge && !found.central) throw databaseIsAnEdges();
}

@Global()
@Module({ providers: POOL_PROVIDERS, exports: [TypeOrmModule, ...POOL_TOKENS] })
export class DatabaseModule implements OnApplicationShutdown {
  static forRoot(options: DatabaseOptions): DynamicModule {
    return {
      module: DatabaseModule,
      imports: [
        TypeOrmModule.forRootAsync({
          inject: [LOGGER],
          useFactory: (logger: Logger) => ({ ...dataSourceOptions(options.url), ...retrying(logger) }),
          dataSourceFactory: (options) => openDataSource(options as DataSourceOptions),
        }),
      ],
      providers: [{ provide: DATABASE_OPTIONS, useValue: options }],
    };
  }

  constructor(private readonly modules: ModuleRef) {}

  async onApplicationShutdown(): Promise<void> {
    await Promise.all(POOL_TOKENS.map((token) => this.modules.get<pg.Pool>(token).end()));
  }
}

function retrying(logger: Logger): Pick<TypeOrmModuleOptions, 'retryAttempts' | 'retryDelay' | 'toRetry'> {
  return {
    retryAttempts: 30,
    retryDelay: RETRY_MS,
    // Nest keeps its own log lines until the service is up: who waits with it must see why.
    toRetry: (err: unknown) => {
      if (err instanceof WaypostError && err.heals === 'operator') return false;
      logger.warn({ err, retryInMs: RETRY_MS }, 'database not ready, trying again');
      return true;
    },
  };
}
