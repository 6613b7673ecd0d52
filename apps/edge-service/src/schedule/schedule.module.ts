import { type DynamicModule, Module } from '@nestjs/common';
import { SCHEDULE_OPTIONS, type ScheduleOptions } from './schedule-options.js';
import { SyncSchedule } from './sync-schedule.js';

@Module({ providers: [SyncSchedule] })
export class ScheduleSyncModule {
  static forRoot(options: ScheduleOptions): DynamicModule {
    return { module: ScheduleSyncModule, providers: [{ provide: SCHEDULE_OPTIONS, useValue: options }] };
  }
}
