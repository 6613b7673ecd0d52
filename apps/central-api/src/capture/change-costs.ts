import type pg from 'pg';
import { withClient, withTransaction } from '@waypost/runtime';
import type { CheckedPlan } from '../plan/check-plan.js';
import type { ChangeCost } from '../plan/describe-explanation.js';
import { findSources } from './find-sources.js';
import type { KeyedTable, UnkeyedTable } from './keyed-tables.js';

/** By the names of the plan's tables. */
export async function findChangeCosts(pool: pg.Pool, plan: CheckedPlan): Promise<Map<string, ChangeCost>> {
  const names = plan.tables.map(({ name }) => name);
  if (plan.file.plan.changes !== 'triggers')
    return new Map(names.map((name) => [name, { reads: 'table', because: 'the plan does not say `changes: triggers`' }]));
  const { keyed } = await withClient(pool, (client) => withTransaction(client, 'READ WRITE', () => findSources(client, plan)));
  return new Map(names.map((name) => [name, costOf(keyed.get(name))]));
}

function costOf(table: KeyedTable | UnkeyedTable | undefined): ChangeCost {
  if (table && 'keyOf' in table)
    return table.hasRanges ? { reads: 'chunks', because: null } : { reads: 'rows', because: 'no index has the order of its key' };
  return { reads: 'table', because: table?.obstacle ?? 'what its query reads is not known' };
}
