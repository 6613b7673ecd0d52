import { type Preamble, quoteTable, type TableShape, type UserType, WaypostError } from '@waypost/contracts';
import { canonicalQuery, describeTables, pinSession, TypeCatalog, typesOf } from '@waypost/runtime';
import type pg from 'pg';
import type { CheckedPlan } from '../plan/check-plan.js';
import { keyedSource, resolveTable } from '../plan/resolve-table.js';
import { readDefaults } from '../plan/source-defaults.js';
import { chooseIndexes } from '../plan/source-indexes.js';
import type { OpenReads } from '../capture/table-read-cache.js';
import { bindScope, readParameter, type Scope } from '../scopes/resolve-scope.js';
import type { BuildObserver } from './build-observer.js';
import { ObservedStore } from './observed-store.js';
import { type ReadOptions, readTable, type ScopedTable, sharedReading, type TableReading } from './read-table.js';
import { tableKey } from './table-key.js';

/** One table of a snapshot: its rows are in the store, this is what names them. */
export type TableSnapshot = ScopedTable & TableReading;

export interface Snapshot {
  tables: TableSnapshot[];
  types: UserType[];
}

interface BuildOptions extends ReadOptions {
  plan: CheckedPlan;
  scope: Scope;
  observer?: BuildObserver | undefined;
}

/**
 * Reads a device's share of all tables and stores it, in the current transaction, which must be REPEATABLE READ, so that all
 * tables are of one moment. Streams: memory does not depend on the size of the tables.
 * @throws WaypostError PLAN_INVALID when the database was altered so that the plan does not fit any more, or a query fails on a row; STORAGE_FAILED, ROW_TOO_LARGE,
 * KEY_NOT_UNIQUE
 */
export async function buildSnapshot(client: pg.ClientBase, options: BuildOptions): Promise<Snapshot> {
  const { scoped, types } = await scopeTables(client, options);
  const tables: TableSnapshot[] = [];
  const store = observedStore(options, scoped, types);
  for (const table of scoped) tables.push({ ...table, ...(await readTable(client, table, { ...options, store })) });
  return { tables, types };
}

/**
 * As buildSnapshot, but takes what others have read, and leaves what it reads for them.
 * @returns the keys of tables that others are reading, where there are such: then nothing is whole yet
 * @throws WaypostError as buildSnapshot
 */
export async function shareSnapshot(client: pg.ClientBase, reads: OpenReads, options: BuildOptions): Promise<Snapshot | string[]> {
  const { scoped, types } = await scopeTables(client, options);
  const wanted = scoped.map((scopedTable) => ({
    scopedTable,
    name: scopedTable.table.name,
    key: scopedTable.key,
    readKey: tableKey({ query: scopedTable.query, parameters: scopedTable.table.parameters, layout: scopedTable }, options.scope),
  }));
  const { fresh, inProgress, earlier } = await reads.claim(wanted);
  // Where a part of it was read before, there is something better: to take that from the store.
  const isOfUse = [...earlier.values()].some((read) => typeof read === 'object');
  const readsAll = fresh.size + inProgress.length === 0 && !isOfUse;
  const store = readsAll ? observedStore(options, scoped, types) : options.store;
  const tables: TableSnapshot[] = [];
  for (const { scopedTable, name, readKey } of wanted) {
    if (inProgress.includes(readKey)) continue;
    const found = fresh.get(readKey);
    const read = found ? sharedReading(found) : await readTable(client, scopedTable, { ...options, store }, earlier.get(readKey));
    tables.push({ ...scopedTable, ...read });
    if (!found) await reads.put({ name, readKey }, read.index);
  }
  return inProgress.length > 0 ? inProgress : { tables, types };
}

/** What each table's query is now, its parameters bound in the current transaction. */
export async function scopeTables(
  client: pg.ClientBase,
  { plan, scope }: Pick<BuildOptions, 'plan' | 'scope'>,
): Promise<{ scoped: ScopedTable[]; types: UserType[] }> {
  const described = await describeTables(
    client,
    plan.tables.map((table) => table.identifier),
  );
  const types = await TypeCatalog.read(client, typesOf(described.values()));
  const resolved = plan.tables.map((table) => {
    const actual = described.get(quoteTable(table.identifier));
    const { resolved, problems } = resolveTable(table, actual, types);
    if (resolved) return { table, actual, resolved };
    throw new WaypostError('PLAN_INVALID', {
      detail: `The database was altered: ${problems.map((problem) => problem.message).join('; ')}`,
    });
  });
  const choices = await chooseIndexes(client, resolved);
  await pinSession(client);
  const defaults = await readDefaults(client, resolved);
  await bindScope(client, scope);
  const scoped = resolved.map(({ table, resolved: shape }, at) => {
    const layout = { ...shape, format: types.formatFor(typesOf([shape])) };
    const ranges = keyedSource(table, layout, (name) => readParameter(plan, scope, name));
    return { table, ...layout, indexes: choices[at]!.mirrored, defaults: defaults[at]!, ranges, query: canonicalQuery(ranges) };
  });
  return { scoped, types: types.userTypes(typesOf(scoped)) };
}

/** The store for tables that are all read now, which an observer may see. */
function observedStore({ plan, store, observer }: BuildOptions, scoped: readonly ScopedTable[], types: UserType[]): BuildOptions['store'] {
  if (!observer) return store;
  observer.begin(preambleOf(plan, scoped, types));
  return new ObservedStore(store, observer);
}

function preambleOf({ schemaVersion }: CheckedPlan, scoped: readonly ScopedTable[], types: UserType[]): Preamble {
  return { schemaVersion, types, tables: scoped.map(shapeOf) };
}

/** A table as manifests describe it, but for its rows. */
export function shapeOf({ table, columns, key, format }: ScopedTable): TableShape {
  return {
    name: table.name,
    format,
    columns: columns.map(({ name, type, notNull }) => ({ name, type, notNull })),
    key,
    ...(table.onReferenced ? { onReferenced: table.onReferenced } : {}),
  };
}
