import { WaypostError } from '@waypost/contracts';
import { sqlStateOf } from '@waypost/runtime';
import type pg from 'pg';
import { FIND_UNIQUE_INDEXES } from './catalog.sql.js';
import type { LocalReference } from './local-references.js';
import type { RetainedRows, MergedTable } from './merged-table.js';
import * as sql from './merge.sql.js';
import { passesOn, SuspendedForeignKeys } from './suspended-foreign-keys.js';
import { temporaryValues, type UniqueColumn } from './temporary-value.js';
import type { WriteLedger } from './write-ledger.js';

/** Rows written, by `<operation>_<position of the table>`. */
type Counts = Record<string, string>;

interface Circumstances {
  references: readonly LocalReference[];
  ledger: WriteLedger;
  /** By table name. */
  retained: ReadonlyMap<string, RetainedRows>;
}

interface UniqueIndex {
  name: string;
  columns: UniqueColumn[];
}

/** Unique and exclusion constraints, which PostgreSQL checks row by row: two rows that swap their values collide. */
const COLLISION = /^(23505|23P01)$/;
/** A temporary value that the type, a check or another unique index does not take. */
const REFUSED_VALUE = /^(22...|23514|23505|23P01|23502)$/;
/** As of PostgreSQL 18, RESTRICT has a state of its own. */
const FOREIGN_KEY = /^(23503|23001)$/;

export const CHANGED_REFERENCE_HINT =
  'Remove the references that the detail names, or let that foreign key reference the primary key: central changes the referenced value, and rows of the device’s own are never altered.';

/**
 * Writes what differs. Rows that stay are updated, never deleted and inserted, where a foreign key acts on a delete: no action fires for a row that is still there.
 * Where values of a unique index pass from row to row, rows first get temporary values, and foreign keys between mirrored tables whose actions would follow the
 * values are suspended.
 * @throws WaypostError LOCAL_REFERENCE where a row of the device's own would dangle; LOAD_REFUSED where rows collide and no temporary value is possible
 */
export async function applyMerge(
  client: pg.ClientBase,
  tables: readonly MergedTable[],
  { references, ledger, retained }: Circumstances,
): Promise<Counts> {
  const foreignKeys = new SuspendedForeignKeys(client, references, tables, ledger);
  await foreignKeys.suspend((reference) => passesOn(client, tables, reference));
  const mayReplace = ({ table }: MergedTable): boolean =>
    !foreignKeys.active.some(({ to, actsOnDelete }) => actsOnDelete && to === table.name);
  const identities = await changedIdentities(client, tables);
  const altered = new Map([...identities].filter(([merged]) => !mayReplace(merged)));
  const withIdentities = new Set(altered.keys());
  for (const [merged, columns] of altered) {
    await client.query(sql.alterIdentities(merged, columns, 'BY DEFAULT'));
    ledger.noteLock(merged.local.oid);
  }
  const run = (replacing: ReadonlySet<MergedTable>): Promise<Counts> => apply(client, tables, { replacing, withIdentities });
  return namingReferences(references, async () => {
    const counts =
      (await attempt(client, { ledger, unless: COLLISION }, () => run(new Set([...identities.keys()].filter(mayReplace))))) ??
      (await applyInSteps(client, tables, { foreignKeys, ledger, retained, mayReplace, run }));
    // PostgreSQL alters no table of which deferred checks are waiting.
    if (altered.size > 0) await client.query('SET CONSTRAINTS ALL IMMEDIATE');
    for (const [merged, columns] of altered) await client.query(sql.alterIdentities(merged, columns, 'ALWAYS'));
    await foreignKeys.restore();
    return counts;
  });
}

/** @returns undefined, and nothing is written, where PostgreSQL refuses it with one of these states */
async function attempt<Result>(
  client: pg.ClientBase,
  { ledger, unless }: { ledger: WriteLedger; unless: RegExp },
  work: () => Promise<Result>,
): Promise<Result | undefined> {
  const mark = await ledger.mark();
  await client.query('SAVEPOINT waypost_merge');
  try {
    return await work();
  } catch (error) {
    if (!unless.test(sqlStateOf(error) ?? '')) throw error;
    await client.query('ROLLBACK TO SAVEPOINT waypost_merge');
    await ledger.discount(mark);
    return undefined;
  }
}

interface Steps {
  foreignKeys: SuspendedForeignKeys;
  ledger: WriteLedger;
  retained: ReadonlyMap<string, RetainedRows>;
  mayReplace: (merged: MergedTable) => boolean;
  run: (replacing: ReadonlySet<MergedTable>) => Promise<Counts>;
}

async function applyInSteps(
  client: pg.ClientBase,
  tables: readonly MergedTable[],
  { foreignKeys, ledger, retained, mayReplace, run }: Steps,
): Promise<Counts> {
  // Deferrable constraints are checked when the merge is done.
  await client.query('SET CONSTRAINTS ALL DEFERRED');
  const updated = tables.filter((merged) => merged.staged && !mayReplace(merged));
  // A foreign key would pass a temporary value on to rows that reference the column. Keys get none.
  await foreignKeys.suspend(({ to, columns }) =>
    updated.some(({ table }) => table.name === to && columns.some((name) => !table.key.includes(name))),
  );
  const moved = new Map<MergedTable, number>();
  for (const merged of updated.filter((table) => !mayReplace(table)))
    moved.set(merged, await assignTemporaryValues(client, merged, ledger));
  const counts = await run(new Set(tables.filter(mayReplace))).catch((error: unknown) => {
    throw COLLISION.test(sqlStateOf(error) ?? '') ? collision(error as pg.DatabaseError, tables, retained) : error;
  });
  for (const [{ position }, count] of moved) counts[`updated_${position}`] = String(Number(counts[`updated_${position}`] ?? 0) + count);
  return counts;
}

/** @returns how many rows were written */
async function assignTemporaryValues(client: pg.ClientBase, merged: MergedTable, ledger: WriteLedger): Promise<number> {
  const { rows } = await client.query<UniqueIndex>(FIND_UNIQUE_INDEXES, [merged.local.oid]);
  let total = 0;
  for (const { columns } of rows) {
    const mirrored = (columns ?? []).filter(({ name }) => merged.table.columns.some((column) => column.name === name));
    const names = mirrored.map(({ name }) => name);
    const candidates = mirrored.filter(({ name }) => !merged.table.key.includes(name));
    for (const candidate of temporaryValues(merged.table.name, candidates)) {
      const statement = sql.assignTemporaryValues(merged, names, candidate);
      const moved = await attempt(client, { ledger, unless: REFUSED_VALUE }, async () => (await client.query(statement)).rowCount ?? 0);
      total += moved ?? 0;
      if (moved !== undefined) break;
    }
  }
  return total;
}

async function apply(client: pg.ClientBase, tables: readonly MergedTable[], application: sql.Application): Promise<Counts> {
  return (await client.query<Counts>(sql.applyDifferences(tables, application))).rows[0]!;
}

/** @throws WaypostError LOCAL_REFERENCE in place of PostgreSQL's error where a foreign key of the device's own was violated */
async function namingReferences<Result>(references: readonly LocalReference[], work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!FOREIGN_KEY.test(sqlStateOf(error) ?? '')) throw error;
    const { constraint } = error as pg.DatabaseError;
    const own = references.find((reference) => reference.constraint === constraint && reference.from === undefined);
    if (!own) throw error;
    throw new WaypostError('LOCAL_REFERENCE', {
      detail: `Rows of ${own.fromTable} reference ${own.to} (${own.columns.join(', ')}) by ${own.constraint}, and the values that they reference change or go.`,
      hint: CHANGED_REFERENCE_HINT,
      cause: error,
    });
  }
}

/** Tables of which a row changes the value of an identity column beside the key that takes no values, with those columns. */
async function changedIdentities(client: pg.ClientBase, tables: readonly MergedTable[]): Promise<Map<MergedTable, string[]>> {
  const found = new Map<MergedTable, string[]>();
  for (const merged of tables.filter(({ staged }) => staged)) {
    const { table, local } = merged;
    const names = local.columns.filter(({ identityAlways }) => identityAlways).map(({ name }) => name);
    const beside = names.filter((name) => !table.key.includes(name) && table.columns.some((column) => column.name === name));
    if (beside.length === 0) continue;
    const { rows } = await client.query<{ changes: boolean }>(sql.findChanged(merged, beside));
    if (rows[0]!.changes) found.set(merged, beside);
  }
  return found;
}

function collision(error: pg.DatabaseError, tables: readonly MergedTable[], retained: ReadonlyMap<string, RetainedRows>): WaypostError {
  const where = `${error.schema}.${error.table}`;
  // PostgreSQL names the partition.
  const merged = tables.find(
    ({ table, local }) => retained.has(table.name) && (local.kind === 'partitioned' || `${local.schema}.${local.table}` === where),
  );
  if (merged) {
    return new WaypostError('LOCAL_REFERENCE', {
      detail: `Rows of ${where} that left this device's share are kept for those that reference them, and a new row has the same value in the device's constraint ${error.constraint}: ${retained.get(merged.table.name)!.examples}.`,
      hint: "Remove the references that the detail names, or drop that constraint on the device: central's own constraints have checked the rows.",
      cause: error,
    });
  }
  return new WaypostError('LOAD_REFUSED', {
    detail: `Rows of ${where} exchange values that the device’s constraint ${error.constraint} keeps unique, and no temporary value is possible.`,
    hint: 'Make the constraint DEFERRABLE on the device (for a unique index: replace it by a constraint), or drop it: central’s own constraints have checked the rows.',
    cause: error,
  });
}
