import { quoteIdentifier } from '@waypost/contracts';
import type { KeyOrder } from '@waypost/runtime';
import type pg from 'pg';
import type { ResolvedTable } from './resolve-table.js';

/** Orders of types that have a collation. */
const STRINGS: ReadonlySet<KeyOrder | undefined> = new Set(['bytes', 'bytesAsUtf8', 'elementsAsUtf8']);

export interface KeyFaults {
  /** Rows with a NULL in their key. */
  incomplete: number;
  /** Values of the key that occur more than once. */
  repeated: number;
}

/**
 * Looks whether a key identifies the rows of a query: all of them are read. It compares as an edge's unique index would.
 * @param query the canonical query
 */
export async function findKeyFaults(
  client: pg.ClientBase,
  query: string,
  { key, keyOrders }: Pick<ResolvedTable, 'key' | 'keyOrders'>,
): Promise<KeyFaults> {
  const columns = key.map((name) => quoteIdentifier(name) + (STRINGS.has(keyOrders.get(name)) ? ' COLLATE pg_catalog."C"' : '')).join(', ');
  const { rows } = await client.query<{ incomplete: string; repeated: string }>(`
    SELECT coalesce(sum(rows) FILTER (WHERE is_incomplete), 0) AS incomplete, count(*) FILTER (WHERE rows > 1 AND NOT is_incomplete) AS repeated
    FROM (
      SELECT pg_catalog.num_nulls(${columns}) > 0 AS is_incomplete, count(*) AS rows FROM (${query}) AS share GROUP BY ${columns}
    ) AS keys`);
  const [{ incomplete, repeated }] = rows as [{ incomplete: string; repeated: string }];
  return { incomplete: Number(incomplete), repeated: Number(repeated) };
}

/** In words; empty where there are none. */
export function describeKeyFaults({ incomplete, repeated }: KeyFaults): string {
  return [
    ...(incomplete === 0 ? [] : [`${incomplete} rows have a NULL in it`]),
    ...(repeated === 0 ? [] : [`${repeated} of its values occur more than once`]),
  ].join(', ');
}
