import { createPool, withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { captureFor, type Coverage, describeCapture, type Installed } from '../src/capture/capture.js';
import { type CheckedPlan, checkPlan } from '../src/plan/check-plan.js';
import { parsePlan } from '../src/plan/read-plan.js';

/** As `waypost capture install` does. */
export function installCapture(databaseUrl: string, plan: string): Promise<Installed> {
  return onPlan(databaseUrl, plan, captureFor);
}

/** As `waypost capture show` does. */
export function showCapture(databaseUrl: string, plan: string): Promise<Coverage> {
  return onPlan(databaseUrl, plan, describeCapture);
}

async function onPlan<Found>(
  databaseUrl: string,
  plan: string,
  work: (client: pg.ClientBase, plan: CheckedPlan) => Promise<Found>,
): Promise<Found> {
  const pool = createPool({ url: databaseUrl, applicationName: 'test', maxConnections: 1, onIdleError: () => undefined });
  try {
    const checked = await checkPlan(pool, parsePlan('plan.yaml', plan));
    return await withClient(pool, (client) => withTransaction(client, 'READ WRITE', () => work(client, checked)));
  } finally {
    await pool.end();
  }
}
