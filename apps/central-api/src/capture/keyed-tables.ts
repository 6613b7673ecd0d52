import type { CatalogTable, KeyedSource } from '@waypost/runtime';
import { findKeyObstacle, hasOrderedIndex, readKeys } from '@waypost/runtime';
import type pg from 'pg';
import { READ_LOOSE_COLLATIONS, READ_MOVING_TYPES, READ_REFERENCES, READ_TREE } from './keyed-tables.sql.js';

/** A table whose changed rows can be told from captured keys, and read alone. */
export interface KeyedTable {
  /** Columns of the key, in the order in which it is recorded, by the oid of the relation that a change is recorded under: the table, its partitions and its parents. */
  keyOf: ReadonlyMap<string, readonly string[]>;
  /** Whether ranges of its keys are cheap to read. Rows are found by their keys without that. */
  hasRanges: boolean;
}

/** Why a table is read whole whatever changed of it. */
export interface UnkeyedTable {
  obstacle: string;
}

/** The view is the plan's query of the table; `views` are those that it reads. */
interface ViewedTable {
  view: string;
  views: readonly string[];
  table: CatalogTable;
  source: KeyedSource;
}

/**
 * Finds out whether a change to a row changes nothing of a table's share but what has this row's key, and whether that is cheap to read. Call it while the view
 * exists.
 */
export async function findKeyed(client: pg.ClientBase, { view, views, table, source }: ViewedTable): Promise<KeyedTable | UnkeyedTable> {
  if (table.kind !== 'table' && table.kind !== 'partitioned') return { obstacle: `it is a ${table.kind}` };
  if (table.hasHeirs) return { obstacle: 'other tables inherit from it' };
  if (table.rowSecurity) return { obstacle: 'it has row-level security' };
  const { rows: tree } = await client.query<{ oid: string }>(READ_TREE, [table.oid]);
  const oids = tree.map(({ oid }) => oid);
  const { rows: references } = await client.query<{ count: number }>(READ_REFERENCES, [view, views, oids]);
  if (references[0]?.count !== 1) return { obstacle: 'its query reads it more than once: one row may decide about others' };
  const keyOf = await readKeys(client, oids);
  const key = [...source.layout.key].sort().join();
  if (oids.some((oid) => [...(keyOf.get(oid) ?? [])].sort().join() !== key))
    return { obstacle: 'its key in the plan is not its primary key, which changes are recorded by' };
  const obstacle = (await findKeyObstacle(client, source)) ?? (await findLooseKey(client, source, table.oid));
  if (obstacle !== undefined) return { obstacle };
  const { rows: types } = await client.query<{ name: string }>(READ_MOVING_TYPES, [source.keyColumns.map(({ typeOid }) => typeOid)]);
  if (types.length > 0)
    return { obstacle: `a session’s settings decide how its key is printed: ${types.map(({ name }) => name).join(', ')}` };
  return { keyOf, hasRanges: await hasOrderedIndex(client, source, table.oid) };
}

/** Keys that differ in their bytes alone may be recorded as one. */
async function findLooseKey(client: pg.ClientBase, { keyColumns }: KeyedSource, oid: number): Promise<string | undefined> {
  const unpadded = keyColumns.find(({ type }) => type === 'bpchar');
  if (unpadded) return `blanks at the end of a key are not recorded: ${unpadded.name} is of type bpchar without a length`;
  const { rows } = await client.query<{ name: string }>(READ_LOOSE_COLLATIONS, [oid, keyColumns.map(({ name }) => name)]);
  return rows[0] && `keys that differ may be equal: the collation of ${rows[0].name} is not deterministic`;
}
