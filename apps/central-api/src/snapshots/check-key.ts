import { quoteIdentifier, quoteTable, WaypostError } from '@waypost/contracts';
import type pg from 'pg';
import type { CheckedTable } from '../plan/check-plan.js';
import { describeKeyFaults, findKeyFaults } from '../plan/find-key-faults.js';
import type { ResolvedTable } from '../plan/resolve-table.js';

/**
 * Looks whether a key that no unique index guards identifies the rows of a device's share.
 * @param query the canonical query
 * @throws WaypostError KEY_NOT_UNIQUE
 */
export async function checkKey(
  client: pg.ClientBase,
  table: CheckedTable,
  query: string,
  resolved: Pick<ResolvedTable, 'key' | 'keyOrders'>,
): Promise<void> {
  const { key } = resolved;
  const faults = describeKeyFaults(await findKeyFaults(client, query, resolved));
  if (faults === '') return;
  throw new WaypostError('KEY_NOT_UNIQUE', {
    detail: `The key ${key.join(', ')} of ${table.name} does not identify its rows: ${faults}.`,
    hint:
      `No table of this device is synchronised until that is corrected. See which rows: ${findThem(table, key)}. Correct them or the view, ` +
      `or name in the plan a key whose columns are never NULL and together unique.`,
  });
}

/** SQL for an operator: a key's values may be private, so no message repeats them. */
function findThem({ identifier }: CheckedTable, key: readonly string[]): string {
  const columns = key.map(quoteIdentifier).join(', ');
  const isNull = key.map((name) => `${quoteIdentifier(name)} IS NULL`).join(' OR ');
  return `SELECT ${columns}, count(*) FROM ${quoteTable(identifier)} GROUP BY ${columns} HAVING count(*) > 1 OR ${isNull}`;
}
