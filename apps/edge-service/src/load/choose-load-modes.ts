import { type TableShape, parseTableName, quoteTable } from '@waypost/contracts';
import type pg from 'pg';
import type { LoadOrder } from './load-order.js';
import type { Mirror } from './mirror-inspector.js';
import type { LoadStrategy } from './load-options.js';

/**
 * How a table gets its rows. `truncate`: emptied, then COPY. `fill`: COPY into a table that is empty. `merge`: staged, compared, and only
 * what differs is written.
 */
export type LoadMode = 'truncate' | 'fill' | 'merge';

/**
 * `auto` fills empty tables and merges the others. A table is filled before any is merged, so one that references a table which is
 * merged, or filled later, is merged too. A table of which only what changed is there is merged always.
 */
export async function chooseLoadModes(
  client: pg.ClientBase,
  { strategy, tables, changes }: { strategy: LoadStrategy; tables: readonly TableShape[]; changes: LoadOrder['changes'] },
  { references }: Mirror,
): Promise<Map<string, LoadMode>> {
  if (strategy !== 'auto') return new Map(tables.map(({ name }) => [name, strategy]));
  const modes = new Map<string, LoadMode>(tables.map(({ name }) => [name, 'merge']));
  for (const { name } of tables) {
    const waits = references.some(({ from, to }) => from === name && to !== name && modes.get(to) === 'merge');
    if (!waits && !changes?.has(name) && (await isEmpty(client, name))) modes.set(name, 'fill');
  }
  return modes;
}

async function isEmpty(client: pg.ClientBase, name: string): Promise<boolean> {
  const { rows } = await client.query<{ empty: boolean }>(`SELECT NOT EXISTS (SELECT FROM ${quoteTable(parseTableName(name))}) AS empty`);
  return rows[0]!.empty;
}
