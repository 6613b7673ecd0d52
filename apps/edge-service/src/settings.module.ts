import { type DynamicModule, Global, Module } from '@nestjs/common';
import { LOGGER } from '@waypost/runtime';
import type { Logger } from 'pino';
import { CONFIG, type EdgeConfig } from './config.js';

/** What the whole service shares: its configuration and its root logger. */
@Global()
@Module({})
export class SettingsModule {
  static forRoot(config: EdgeConfig, logger: Logger): DynamicModule {
    return {
      module: SettingsModule,
      providers: [
        { provide: CONFIG, useValue: config },
        { provide: LOGGER, useValue: logger },
      ],
      exports: [CONFIG, LOGGER],
    };
  }
}
