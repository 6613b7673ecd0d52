import { Module } from '@nestjs/common';
import { ScheduleModule } from '@nestjs/schedule';
import { CycleModule } from '../cycle/cycle.module.js';
import { StatusModule } from '../status/status.module.js';
import { SyncSchedule } from './sync-schedule.js';

@Module({ imports: [ScheduleModule.forRoot(), CycleModule, StatusModule], providers: [SyncSchedule] })
export class ScheduleSyncModule {}
