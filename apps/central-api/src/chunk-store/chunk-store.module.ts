import { Module } from '@nestjs/common';
import { LOGGER } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import { CONFIG, type Config } from '../config.js';
import { STORE_POOL } from '../database/pools.js';
import { FileBlobStore } from './blobs/file-blob-store.js';
import { ChunkCatalog } from './chunk-catalog.js';
import { PackStore } from './pack-store.js';
import { SNAPSHOT_STORE } from './snapshot-store.js';
import { StoreMetrics } from './store-metrics.js';

@Module({
  providers: [
    {
      provide: PackStore,
      inject: [CONFIG, STORE_POOL, LOGGER],
      useFactory: (config: Config, pool: pg.Pool, logger: Logger) =>
        new PackStore({
          blobs: new FileBlobStore(config.SNAPSHOT_STORE.folder),
          catalog: new ChunkCatalog(pool),
          logger,
          limitBytes: config.SNAPSHOT_STORE_LIMIT || Infinity,
        }),
    },
    { provide: SNAPSHOT_STORE, useExisting: PackStore },
    StoreMetrics,
  ],
  exports: [PackStore, SNAPSHOT_STORE],
})
export class ChunkStoreModule {}
