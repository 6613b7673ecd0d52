import { WaypostError } from '@waypost/contracts';
import { sqlStateOf } from '@waypost/runtime';
import type pg from 'pg';
import { FIND_UNIQUE_INDEXES } from './catalog.sql.js';
import type { LocalReference } from './local-references.js';
import type { MergedTable } from './merge-tables.js';
import * as sql from './merge.sql.js';
import { temporaryValue, type UniqueColumn } from './temporary-value.js';
import type { WriteLedger } from './write-ledger.js';

/** Rows written, by `<operation>_<position of the table>`. */
type Counts = Record<string, string>;

interface Circumstances {
  references: readonly LocalReference[];
  ledger: WriteLedger;
}

interface UniqueIndex {
  tableOid: string;
  name: string;
  columns: UniqueColumn[];
}

/** Unique and exclusion constraints, which PostgreSQL checks row by row: two rows that swap their values collide. */
const COLLISION = /^(23505|23P01)$/;
const FOREIGN_KEY = '23503';

export const CHANGED_REFERENCE_HINT =
  'Remove the references that the detail names, or let that foreign key reference the primary key: central changes the referenced value, and rows of the device’s own are never altered.';

/**
 * Writes what differs. Rows that stay are updated, never deleted and inserted, where a foreign key acts on a delete: no action fires for a row that is still there.
 * Where values of a unique index pass from row to row, rows first get temporary values.
 * @throws WaypostError LOCAL_REFERENCE where a row of the device's own would dangle; LOAD_REFUSED where rows collide and no temporary value is possible
 */
export async function applyMerge(
  client: pg.ClientBase,
  tables: readonly MergedTable[],
  { references, ledger }: Circumstances,
): Promise<Counts> {
  const acted = new Set(references.filter(({ actsOnDelete }) => actsOnDelete).map(({ to }) => to));
  const mayReplace = ({ table }: MergedTable): boolean => !acted.has(table.name);
  const identities = await changedIdentities(client, tables);
  const altered = new Map([...identities].filter(([merged]) => !mayReplace(merged)));
  const withIdentities = new Set(altered.keys());
  for (const [merged, columns] of altered) {
    await client.query(sql.alterIdentities(merged, columns, 'BY DEFAULT'));
    ledger.noteLock(merged.local.oid);
  }
  const run = (replacing: ReadonlySet<MergedTable>): Promise<Counts> => apply(client, tables, { replacing, withIdentities }, references);
  const counts = await attempt(client, ledger, () => run(new Set([...identities.keys()].filter(mayReplace))));
  const written =
    counts ??
    (await applyInSteps(
      client,
      tables.filter((merged) => merged.staged && !mayReplace(merged)),
      () => run(new Set(tables.filter(mayReplace))),
    ));
  for (const [merged, columns] of altered) await client.query(sql.alterIdentities(merged, columns, 'ALWAYS'));
  return written;
}

/** @returns undefined, and nothing is written, where rows collide */
async function attempt(client: pg.ClientBase, ledger: WriteLedger, work: () => Promise<Counts>): Promise<Counts | undefined> {
  const mark = await ledger.mark();
  await client.query('SAVEPOINT waypost_merge');
  try {
    return await work();
  } catch (error) {
    if (!COLLISION.test(sqlStateOf(error) ?? '')) throw error;
    await client.query('ROLLBACK TO SAVEPOINT waypost_merge');
    await ledger.discount(mark);
    return undefined;
  }
}

async function applyInSteps(client: pg.ClientBase, tables: readonly MergedTable[], run: () => Promise<Counts>): Promise<Counts> {
  // Deferrable constraints are checked when the merge is done.
  await client.query('SET CONSTRAINTS ALL DEFERRED');
  const moved = new Map<MergedTable, number>();
  for (const merged of tables) moved.set(merged, await assignTemporaryValues(client, merged));
  const counts = await run().catch((error: unknown) => {
    throw COLLISION.test(sqlStateOf(error) ?? '') ? collision(error as pg.DatabaseError) : error;
  });
  for (const [{ position }, count] of moved) counts[`updated_${position}`] = String(Number(counts[`updated_${position}`] ?? 0) + count);
  return counts;
}

/** @returns how many rows were written */
async function assignTemporaryValues(client: pg.ClientBase, merged: MergedTable): Promise<number> {
  const { rows } = await client.query<UniqueIndex>(FIND_UNIQUE_INDEXES, [[merged.local.oid]]);
  let total = 0;
  for (const { columns } of rows) {
    const mirrored = (columns ?? []).filter(({ name }) => merged.table.columns.some((column) => column.name === name));
    const candidates = mirrored.filter(({ name }) => !merged.table.key.includes(name));
    const chosen = temporaryValue(merged.table.name, candidates);
    if (!chosen) continue;
    const names = mirrored.map(({ name }) => name);
    total += (await client.query(sql.assignTemporaryValues(merged, names, chosen))).rowCount ?? 0;
  }
  return total;
}

async function apply(
  client: pg.ClientBase,
  tables: readonly MergedTable[],
  application: sql.Application,
  references: readonly LocalReference[],
): Promise<Counts> {
  try {
    return (await client.query<Counts>(sql.applyDifferences(tables, application))).rows[0]!;
  } catch (error) {
    if (sqlStateOf(error) !== FOREIGN_KEY) throw error;
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

function collision(error: pg.DatabaseError): WaypostError {
  return new WaypostError('LOAD_REFUSED', {
    detail: `Rows of ${error.schema}.${error.table} exchange values that the device’s constraint ${error.constraint} keeps unique, and no temporary value is possible.`,
    hint: 'Make the constraint DEFERRABLE on the device (for a unique index: replace it by a constraint), or drop it: central’s own constraints have checked the rows.',
    cause: error,
  });
}
