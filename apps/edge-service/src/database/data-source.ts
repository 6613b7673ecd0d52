import { readableSettings, withoutContext } from '@waypost/runtime';
import type { DataSourceOptions } from 'typeorm';
import type { DatabaseOptions } from './database-options.js';
import { AckEntity } from './entities/ack.entity.js';
import { RetainedRowEntity } from './entities/retained-row.entity.js';
import { ScrubEntity } from './entities/scrub.entity.js';
import { SyncLogEntity } from './entities/sync-log.entity.js';
import { SyncStateEntity } from './entities/sync-state.entity.js';
import { CreateEdgeTables1795000000000 } from './migrations/1795000000000-create-edge-tables.js';
import { CreateKeptRows1795200000000 } from './migrations/1795200000000-create-kept-rows.js';
import { CreateAuditViews1795400000000 } from './migrations/1795400000000-create-audit-views.js';
import { IndexRunningCycles1795600000000 } from './migrations/1795600000000-index-running-cycles.js';
import { CreateOwnedTables1796600000001 } from './migrations/1796600000001-create-owned-tables.js';
import { CreateTableChunks1797200000000 } from './migrations/1797200000000-create-table-chunks.js';
import { CreateSchemaChanges1797300000000 } from './migrations/1797300000000-create-schema-changes.js';
import { CreateScrubs1797400000000 } from './migrations/1797400000000-create-scrubs.js';
import { CreateLeftTables1797500000013 } from './migrations/1797500000013-create-left-tables.js';
import { CreateReceipts1797630000000 } from './migrations/1797630000000-create-receipts.js';
import { WatchLedger1797800000000 } from './migrations/1797800000000-watch-ledger.js';

export const ENTITIES = [SyncLogEntity, SyncStateEntity, RetainedRowEntity, AckEntity, ScrubEntity];

/** TypeORM looks after Waypost's own tables; mirrored tables are read and written by pg alone. */
export function dataSourceOptions({ url }: DatabaseOptions, onIdleError: (error: Error) => void): DataSourceOptions {
  return {
    type: 'postgres',
    url,
    schema: 'waypost',
    applicationName: 'waypost-edge',
    entities: ENTITIES,
    migrations: [
      CreateEdgeTables1795000000000,
      CreateKeptRows1795200000000,
      CreateAuditViews1795400000000,
      IndexRunningCycles1795600000000,
      CreateOwnedTables1796600000001,
      CreateTableChunks1797200000000,
      CreateSchemaChanges1797300000000,
      CreateScrubs1797400000000,
      CreateLeftTables1797500000013,
      CreateReceipts1797630000000,
      WatchLedger1797800000000,
    ],
    migrationsTableName: 'edge_migrations',
    installExtensions: false,
    synchronize: false,
    logging: false,
    poolSize: 3,
    connectTimeoutMS: 10_000,
    poolErrorHandler: (error: Error) => withoutContext(() => onIdleError(error)),
    extra: { onConnect: readableSettings },
  };
}
