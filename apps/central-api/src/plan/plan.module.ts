import { type DynamicModule, Global, Module } from '@nestjs/common';
import type pg from 'pg';
import { DataSource } from 'typeorm';
import { BUILD_POOL } from '../database/pools.js';
import { CHECKED_PLAN, checkPlan } from './check-plan.js';
import { PLAN_OPTIONS, type PlanOptions } from './plan-options.js';
import { PlanRecheck } from './plan-recheck.js';
import { readPlan } from './read-plan.js';

@Global()
@Module({
  providers: [
    {
      provide: CHECKED_PLAN,
      // The data source waits for a database that starts; the pool would not.
      inject: [PLAN_OPTIONS, BUILD_POOL, DataSource],
      useFactory: async ({ file }: PlanOptions, pool: pg.Pool) => checkPlan(pool, await readPlan(file)),
    },
    PlanRecheck,
  ],
  exports: [CHECKED_PLAN, PlanRecheck],
})
export class PlanModule {
  static forRoot(options: PlanOptions): DynamicModule {
    return { module: PlanModule, providers: [{ provide: PLAN_OPTIONS, useValue: options }] };
  }
}
