import { type DynamicModule, Global, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { LOGGER } from '@waypost/runtime';
import type { Logger } from 'pino';
import { dataSourceOptions, ENTITIES } from './data-source.js';
import { DATABASE_OPTIONS, type DatabaseOptions } from './database-options.js';
import { Database } from './database.js';

@Global()
@Module({ providers: [Database], exports: [Database, TypeOrmModule] })
export class DatabaseModule {
  static forRoot(options: DatabaseOptions): DynamicModule {
    return {
      module: DatabaseModule,
      imports: [
        TypeOrmModule.forRootAsync({
          inject: [LOGGER],
          // Connecting is Database's task: it does not give up.
          useFactory: (logger: Logger) => ({
            ...dataSourceOptions(options, (error) => logger.warn({ err: error }, 'an idle database connection broke')),
            manualInitialization: true,
          }),
        }),
        TypeOrmModule.forFeature(ENTITIES),
      ],
      providers: [{ provide: DATABASE_OPTIONS, useValue: options }],
    };
  }
}
