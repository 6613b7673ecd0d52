import { Module } from '@nestjs/common';
import type pg from 'pg';
import { DataSource } from 'typeorm';
import { CONFIG, type Config } from '../config.js';
import { BUILD_POOL } from '../database/pools.js';
import { CHECKED_PLAN, checkPlan } from './check-plan.js';
import { PlanRecheck } from './plan-recheck.js';
import { readPlan } from './read-plan.js';

@Module({
  providers: [
    {
      provide: CHECKED_PLAN,
      // The data source waits for a database that starts; the pool would not.
      inject: [CONFIG, BUILD_POOL, DataSource],
      useFactory: async (config: Config, pool: pg.Pool) => checkPlan(pool, await readPlan(config.SYNC_PLAN)),
    },
    PlanRecheck,
  ],
  exports: [CHECKED_PLAN, PlanRecheck],
})
export class PlanModule {}
