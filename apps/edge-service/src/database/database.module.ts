import { Global, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { LOGGER } from '@waypost/runtime';
import type { Logger } from 'pino';
import { CONFIG, type EdgeConfig } from '../config.js';
import { dataSourceOptions, ENTITIES } from './data-source.js';
import { Database } from './database.js';

@Global()
@Module({
  imports: [
    TypeOrmModule.forRootAsync({
      inject: [CONFIG, LOGGER],
      // Connecting is Database's task: it does not give up.
      useFactory: (config: EdgeConfig, logger: Logger) => ({
        ...dataSourceOptions(config, (error) => logger.warn({ err: error }, 'an idle database connection broke')),
        manualInitialization: true,
      }),
    }),
    TypeOrmModule.forFeature(ENTITIES),
  ],
  providers: [Database],
  exports: [Database, TypeOrmModule],
})
export class DatabaseModule {}
