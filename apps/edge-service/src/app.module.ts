import { type DynamicModule, Module } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { httpLogging, LOGGER, ProblemFilter } from '@waypost/runtime';
import { LoggerModule } from 'nestjs-pino';
import type { Logger } from 'pino';
import { AcksModule } from './acks/acks.module.js';
import { ApiModule } from './api/api.module.js';
import { AuditModule } from './audit/audit.module.js';
import { type CircuitLimits, DEFAULT_CIRCUIT_LIMITS } from './central/central-circuit.js';
import { CentralModule } from './central/central.module.js';
import type { EdgeConfig } from './config.js';
import { CycleModule } from './cycle/cycle.module.js';
import { DatabaseModule } from './database/database.module.js';
import { DownloadModule } from './download/download.module.js';
import { HealthModule } from './health/health.module.js';
import { LoadModule } from './load/load.module.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { MirrorModule } from './mirror/mirror.module.js';
import { PhaseModule } from './phase/phase.module.js';
import { ScheduleSyncModule } from './schedule/schedule.module.js';
import { SettingsModule } from './settings.module.js';
import { StateModule } from './state/state.module.js';
import { StatusModule } from './status/status.module.js';

/** The edge service, from the database up to its API. Each module uses only those above it. */
@Module({})
export class AppModule {
  static forRoot(config: EdgeConfig, logger: Logger, limits: CircuitLimits = DEFAULT_CIRCUIT_LIMITS): DynamicModule {
    return {
      module: AppModule,
      imports: [
        SettingsModule.forRoot(config, logger),
        LoggerModule.forRoot(httpLogging(logger)),
        DatabaseModule,
        MetricsModule,
        StateModule,
        CentralModule.forRoot(limits),
        AuditModule,
        PhaseModule,
        DownloadModule,
        LoadModule,
        AcksModule,
        StatusModule,
        MirrorModule,
        CycleModule,
        ScheduleSyncModule,
        HealthModule,
        ApiModule,
      ],
      providers: [{ provide: APP_FILTER, useFactory: (root: Logger) => new ProblemFilter(root), inject: [LOGGER] }],
    };
  }
}
