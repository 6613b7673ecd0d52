import { type DynamicModule, Global, Module } from '@nestjs/common';
import { LOGGER } from '@waypost/runtime';
import type { Logger } from 'pino';

/** What the whole service shares: its root logger. */
@Global()
@Module({})
export class SettingsModule {
  static forRoot(logger: Logger): DynamicModule {
    return { module: SettingsModule, providers: [{ provide: LOGGER, useValue: logger }], exports: [LOGGER] };
  }
}
