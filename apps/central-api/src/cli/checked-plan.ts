import type { CommandContext } from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';
import type pg from 'pg';
import { checkPlan, type CheckedPlan } from '../plan/check-plan.js';
import { readPlan } from '../plan/read-plan.js';

/** The plan that the command line or SYNC_PLAN names, checked against the database. @throws WaypostError CONFIG_INVALID, PLAN_INVALID */
export async function checkedPlan(context: CommandContext, pool: pg.Pool): Promise<{ path: string; plan: CheckedPlan }> {
  const path = context.option('plan', 'SYNC_PLAN');
  if (path === undefined) {
    throw new WaypostError('CONFIG_INVALID', { detail: 'No plan is given.', hint: 'Give --plan <file>, or set SYNC_PLAN.' });
  }
  return { path, plan: await checkPlan(pool, await readPlan(path)) };
}
