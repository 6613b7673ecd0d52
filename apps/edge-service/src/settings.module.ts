import { type DynamicModule, Global, Module } from '@nestjs/common';
import { LOGGER } from '@waypost/runtime';
import type { Logger } from 'pino';
import { CIRCUIT_LIMITS, type CircuitLimits } from './central/central-circuit.js';
import { CONFIG, type EdgeConfig } from './config.js';

/** What the whole service shares: its configuration, its limits towards central and its root logger. */
@Global()
@Module({})
export class SettingsModule {
  static of(config: EdgeConfig, logger: Logger, limits: CircuitLimits): DynamicModule {
    return {
      module: SettingsModule,
      providers: [
        { provide: CONFIG, useValue: config },
        { provide: LOGGER, useValue: logger },
        { provide: CIRCUIT_LIMITS, useValue: limits },
      ],
      exports: [CONFIG, LOGGER, CIRCUIT_LIMITS],
    };
  }
}
