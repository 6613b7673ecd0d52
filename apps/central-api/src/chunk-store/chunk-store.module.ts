import { type DynamicModule, Global, Module } from '@nestjs/common';
import { LOGGER } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import { STORE_POOL } from '../database/pools.js';
import { FileBlobStore } from './blobs/file-blob-store.js';
import { ChunkCatalog } from './chunk-catalog.js';
import { CHUNK_STORE_OPTIONS, type ChunkStoreOptions } from './chunk-store-options.js';
import { PackStore } from './pack-store.js';
import { RowChanges } from './row-changes.js';
import { SNAPSHOT_STORE } from './snapshot-store.js';
import { StoreMetrics } from './store-metrics.js';

@Global()
@Module({
  providers: [
    {
      provide: PackStore,
      inject: [CHUNK_STORE_OPTIONS, STORE_POOL, LOGGER],
      useFactory: ({ folder, limitBytes }: ChunkStoreOptions, pool: pg.Pool, logger: Logger) =>
        new PackStore({
          blobs: new FileBlobStore(folder),
          catalog: new ChunkCatalog(pool),
          logger,
          limitBytes: limitBytes || Infinity,
        }),
    },
    { provide: SNAPSHOT_STORE, useExisting: PackStore },
    RowChanges,
    StoreMetrics,
  ],
  exports: [PackStore, RowChanges, SNAPSHOT_STORE],
})
export class ChunkStoreModule {
  static forRoot(options: ChunkStoreOptions): DynamicModule {
    return { module: ChunkStoreModule, providers: [{ provide: CHUNK_STORE_OPTIONS, useValue: options }] };
  }
}
