import { Inject, Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { TtlCache, sqlStateOf } from '@waypost/runtime';
import type pg from 'pg';
import { BUILD_POOL } from '../database/pools.js';
import { CHECKED_PLAN, checkPlan, type CheckedPlan } from './check-plan.js';

/** What PostgreSQL says of a query that its catalog does not fit: unknown names, missing rights, wrong types, unknown schemas. */
const DOES_NOT_FIT = /^(42|3F)/;
const TIMEOUT_MS = 5000;

/** Says which lines of the plan do not fit a database that was altered while central runs. */
@Injectable()
export class PlanRecheck {
  /** One check at a time, for all requests that fail meanwhile. */
  private readonly faults: TtlCache<string | undefined>;

  constructor(@Inject(BUILD_POOL) pool: pg.Pool, @Inject(CHECKED_PLAN) plan: CheckedPlan) {
    this.faults = new TtlCache(() => faultsOf(pool, plan), { ttlMs: 0, timeoutMs: TIMEOUT_MS });
  }

  /**
   * What a request failed with, rethrown. Call it while no connection of the build pool is held.
   * @throws WaypostError PLAN_INVALID with file and line of each fault, where the plan does not fit the database any more; otherwise `error` itself
   */
  async rethrow(error: unknown): Promise<never> {
    const faults = mayNotFit(error) ? await this.faults.get() : undefined;
    if (faults === undefined) throw error;
    throw new WaypostError('PLAN_INVALID', {
      detail: `The database was altered, and the plan does not fit it any more:\n${faults}`,
      hint: 'Take the change of the database back, or correct the named lines, check them with npm run plan:check, and restart central.',
      cause: error,
    });
  }
}

function mayNotFit(error: unknown): boolean {
  if (error instanceof WaypostError) return error.code === 'PLAN_INVALID';
  return DOES_NOT_FIT.test(sqlStateOf(error) ?? '');
}

async function faultsOf(pool: pg.Pool, plan: CheckedPlan): Promise<string | undefined> {
  try {
    await checkPlan(pool, plan.file);
    return undefined;
  } catch (error) {
    if (error instanceof WaypostError && error.code === 'PLAN_INVALID') return error.message;
    throw error;
  }
}
