import { WaypostError } from '@waypost/contracts';
import { createPool, databaseUrl, readConfig } from '@waypost/runtime';
import { z } from 'zod';
import { findChangeCosts } from '../capture/change-costs.js';
import { checkPlan } from '../plan/check-plan.js';
import { type ChangeCost, describeExplanation } from '../plan/describe-explanation.js';
import { explainPlan, failsForAll } from '../plan/explain-plan.js';
import { readPlan } from '../plan/read-plan.js';

/** `npm run plan:check`: checks SYNC_PLAN against DATABASE_URL, explains it, starts nothing. Exit status 1 when it does not fit, or no device could be served. */
async function main(): Promise<void> {
  const config = readConfig(z.object({ SYNC_PLAN: z.string(), DATABASE_URL: databaseUrl }), process.env);
  const file = await readPlan(config.SYNC_PLAN);
  const pool = createPool({
    url: config.DATABASE_URL,
    applicationName: 'waypost-plan-check',
    maxConnections: 1,
    onIdleError: () => undefined,
  });
  try {
    const plan = await checkPlan(pool, file);
    const scope = [...plan.scopeTypes].map(([name, type]) => `${name} ${type}`).join(', ');
    console.log(`${config.SYNC_PLAN} fits the database.\n\nschemaVersion ${plan.schemaVersion}\nscope gives   ${scope}\n`);
    const tables = await explainPlan(pool, plan);
    const costs = await findChangeCosts(pool, plan);
    for (const table of tables) console.log(describeExplanation(table, costs.get(table.name) as ChangeCost));
    if (tables.some(failsForAll)) process.exitCode = 1;
  } finally {
    await pool.end();
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof WaypostError)) throw error;
  console.error(`${error.code}\n${error.message}\n\n${error.hint}`);
  process.exitCode = 1;
}
