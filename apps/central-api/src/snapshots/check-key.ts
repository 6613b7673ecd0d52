import { quoteIdentifier, WaypostError } from '@waypost/contracts';
import type { KeyOrder } from '@waypost/runtime';
import type pg from 'pg';
import type { CheckedTable } from '../plan/check-plan.js';
import type { ResolvedTable } from '../plan/resolve-table.js';

/** Orders of types that have a collation. */
const STRINGS: ReadonlySet<KeyOrder | undefined> = new Set(['bytes', 'bytesAsUtf8', 'elementsAsUtf8']);

/**
 * Looks whether a key that no unique index guards identifies the rows of a device's share. It compares as an edge's unique index would.
 * @param query the canonical query
 * @throws WaypostError KEY_NOT_UNIQUE
 */
export async function checkKey(
  client: pg.ClientBase,
  table: CheckedTable,
  query: string,
  { key, keyOrders }: Pick<ResolvedTable, 'key' | 'keyOrders'>,
): Promise<void> {
  const columns = key.map((name) => quoteIdentifier(name) + (STRINGS.has(keyOrders.get(name)) ? ' COLLATE pg_catalog."C"' : '')).join(', ');
  const { rows } = await client.query<{ incomplete: string; repeated: string }>(`
    SELECT coalesce(sum(rows) FILTER (WHERE is_incomplete), 0) AS incomplete, count(*) FILTER (WHERE rows > 1 AND NOT is_incomplete) AS repeated
    FROM (
      SELECT pg_catalog.num_nulls(${columns}) > 0 AS is_incomplete, count(*) AS rows FROM (${query}) AS share GROUP BY ${columns}
    ) AS keys`);
  const [{ incomplete, repeated }] = rows as [{ incomplete: string; repeated: string }];
  const faults = [
    ...(incomplete === '0' ? [] : [`${incomplete} rows have a NULL in it`]),
    ...(repeated === '0' ? [] : [`${repeated} of its values occur more than once`]),
  ];
  if (faults.length === 0) return;
  throw new WaypostError('KEY_NOT_UNIQUE', {
    detail: `The key ${key.join(', ')} of ${table.name} does not identify its rows: ${faults.join(', ')}.`,
  });
}
