import { RowFramer } from '@waypost/contracts';
import type pg from 'pg';
import { columnsOfKeys, type KeyedSource, shapeOf } from './key-ranges.js';
import { rowsQuery } from './key-ranges.sql.js';
import { collectRangeRows } from './range-rows.js';

/** Canonical bytes of rows by their keys, in the form of BorderKeys, as Latin-1. */
export type RowsByKey = ReadonlyMap<string, Buffer>;

/**
 * Looks up the rows that have one of the keys, byte by byte. Any index on the key serves, whatever its order.
 *
 * The client must be in a transaction with pinned session.
 * @returns undefined where they are longer than `maxBytes` together: memory holds no more
 */
export async function readRowsByKey(
  client: pg.ClientBase,
  source: KeyedSource,
  keys: readonly { key: Buffer }[],
  { maxBytes, signal }: { maxBytes: number; signal?: AbortSignal | undefined },
): Promise<RowsByKey | undefined> {
  if (keys.length === 0) return new Map();
  const numbers = Array.from(keys, (_, at) => at);
  const statement = { text: rowsQuery(source), values: [numbers, ...columnsOfKeys(source, keys)] };
  const found = await collectRangeRows(client, statement, { maxBytes, signal });
  if (!found) return undefined;
  const framer = new RowFramer(shapeOf(source));
  const wanted = new Set(keys.map(({ key }) => key.toString('latin1')));
  // A row whose key equals one of them without having its bytes is found, too: it is not one of them.
  const rows = [...found.values()].map((row) => [framer.keyAt(row, 0).toString('latin1'), row] as const);
  return new Map(rows.filter(([key]) => wanted.has(key)));
}
