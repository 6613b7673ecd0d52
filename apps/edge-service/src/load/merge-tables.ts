import { WaypostError } from '@waypost/contracts';
import { copyIn, describeSpan, statementOf } from '@waypost/runtime';
import type pg from 'pg';
import type { ChunkSource } from '../chunk-source/chunk-source.js';
import { copyDataOf } from './copy-data.js';
import { applyMerge, CHANGED_REFERENCE_HINT } from './apply-merge.js';
import type { LocalReference } from './local-references.js';
import type { RetainedRows, MergedTable } from './merged-table.js';
import type { WriteLedger } from './write-ledger.js';
import * as sql from './merge.sql.js';

/** Rows written by a merge; in a table whose changed rows had to be replaced, they count as deleted and inserted. */
export interface MergeCounts {
  deleted: number;
  updated: number;
  inserted: number;
  /** Rows that are retained. */
  kept: number;
}

/** Puts the manifest's rows beside the local ones, in a temporary table. Memory holds a few chunks. */
export async function stageTable(client: pg.ClientBase, merged: MergedTable, spooled: ChunkSource): Promise<void> {
  await client.query(sql.createStagedRows(merged));
  const statement = sql.copyIntoStagedRows(merged);
  describeSpan(statementOf(statement));
  await copyIn(client, statement, copyDataOf(spooled, merged.table.format));
  await client.query(sql.analyzeStagedRows(merged));
}

/**
 * Brings staged tables up to their manifest. Readers go on reading the old rows until COMMIT; a row that does not differ is not written.
 * A row that left but is referenced by rows that stay is retained where the plan says so (`onReferenced: keep`).
 * @returns by table name
 * @throws WaypostError LOCAL_REFERENCE that names table, key and constraint of rows that are referenced and must not be retained
 */
export async function mergeTables(
  client: pg.ClientBase,
  tables: readonly MergedTable[],
  references: readonly LocalReference[],
  ledger: WriteLedger,
): Promise<Map<string, MergeCounts>> {
  const repeated = new Map<MergedTable, number>();
  for (const merged of tables) {
    // Chunks with a key twice have another digest: changes are never staged beside them.
    const mayRepeat = merged.staged === 'all' && !isGuarded(merged);
    if (mayRepeat) repeated.set(merged, (await client.query(sql.deleteRepeatedKeys(merged))).rowCount ?? 0);
    await client.query(`${createDifferences(merged)}; ANALYZE ${sql.differences(merged)}`);
  }
  const retained = await retainReferencedRows(client, tables, references);
  await refuseChangedReferences(client, tables, references);
  const counts = await applyMerge(client, tables, { references, ledger, retained });
  return new Map(
    tables.map((merged) => {
      const { name } = merged.table;
      const count = (what: string): number => Number(counts[`${what}_${merged.position}`] ?? 0);
      const deleted = count('deleted') + (repeated.get(merged) ?? 0);
      return [name, { deleted, updated: count('updated'), inserted: count('inserted'), kept: retained.get(name)?.total ?? 0 }];
    }),
  );
}

function createDifferences(merged: MergedTable): string {
  switch (merged.staged) {
    case 'all':
      return sql.createDifferences(merged);
    case 'changes':
      return sql.createDifferencesOfChanges(merged);
    case undefined:
      return sql.createDifferencesOfRetainedRows(merged);
  }
}

/** A retained row retains what it references itself, so this is repeated until nothing is added. */
async function retainReferencedRows(
  client: pg.ClientBase,
  tables: readonly MergedTable[],
  references: readonly LocalReference[],
): Promise<Map<string, RetainedRows>> {
  const byName = new Map(tables.map((merged) => [merged.table.name, merged]));
  const relevant = references.filter(({ to }) => byName.has(to));
  const referenced = new Set(relevant.map(({ to }) => byName.get(to)!));
  for (const merged of referenced) await client.query(sql.lockLeavingRows(merged));
  for (let added = 1; added > 0;) {
    added = 0;
    for (const reference of relevant) {
      const statement = retainStatement(byName.get(reference.to)!, reference, byName.get(reference.from ?? ''));
      added += (await client.query(statement, [`${reference.fromTable} (${reference.constraint})`])).rowCount ?? 0;
    }
  }
  const retained = new Map<string, RetainedRows>();
  for (const merged of tables) {
    const rows = referenced.has(merged) ? await assertRetainable(client, merged) : undefined;
    if (rows) retained.set(merged.table.name, rows);
    // Nothing else than a reference makes a row stay.
    if (referenced.has(merged) || merged.hasRetained) await client.query(sql.recordRetained(merged), [merged.table.name]);
  }
  return retained;
}

/** @param referencing where its rows may leave too */
function retainStatement(merged: MergedTable, reference: LocalReference, referencing: MergedTable | undefined): string {
  const { from, fromTable, match, equal, columns, actsOnDelete } = reference;
  if (referencing) return sql.retainReferencedByRetained(merged, match, referencing);
  const isStaged = merged.staged !== undefined && columns.every((name) => merged.table.columns.some((column) => column.name === name));
  // Only the key says which row is which: another one may have the value, which is all that a reference wants. An action that would fire nevertheless can be held back in the mirror alone.
  const mayPassOn = isStaged && (from !== undefined || !actsOnDelete);
  return sql.retainReferenced(merged, { match, fromTable, ...(mayPassOn && { unless: equal }) });
}

/**
 * Rows of the device's own that reference a value which changes would be altered by their foreign key's action, or dangle. A row's new value is not its old one, so
 * that `onReferenced: keep` has nothing to keep.
 */
async function refuseChangedReferences(
  client: pg.ClientBase,
  tables: readonly MergedTable[],
  references: readonly LocalReference[],
): Promise<void> {
  const byName = new Map(tables.filter(({ staged }) => staged).map((merged) => [merged.table.name, merged]));
  for (const { to, from, fromTable, constraint, match, columns, actsOnUpdate } of references) {
    const merged = byName.get(to);
    const mirrored = columns.filter((name) => merged?.table.columns.some((column) => column.name === name));
    if (!merged || from !== undefined || !actsOnUpdate || mirrored.length === 0) continue;
    const { rows } = await client.query<{ key: string; total: string }>(sql.findChangedReferences(merged, match, fromTable, mirrored));
    if (rows.length === 0) continue;
    const { name, key } = merged.table;
    const examples = rows.map((row) => `(${key.join(', ')})=${row.key}`).join('; ');
    throw new WaypostError('LOCAL_REFERENCE', {
      detail: `${rows[0]!.total} rows of ${name} change ${mirrored.join(', ')}, which rows of ${fromTable} reference by ${constraint}: ${examples}.`,
      hint: CHANGED_REFERENCE_HINT,
    });
  }
}

/** @returns undefined where no row is retained */
async function assertRetainable(client: pg.ClientBase, merged: MergedTable): Promise<RetainedRows | undefined> {
  const { rows } = await client.query<{ key: string; referencedBy: string; total: string }>(sql.findRetained(merged));
  if (rows.length === 0) return undefined;
  const total = Number(rows[0]!.total);
  const { name, key, onReferenced } = merged.table;
  const examples =
    rows.map((row) => `(${key.join(', ')})=${row.key} by ${row.referencedBy}`).join('; ') + (total > rows.length ? '; …' : '');
  if (onReferenced === 'keep') return { total, examples };
  throw new WaypostError('LOCAL_REFERENCE', {
    detail: `${total} rows of ${name} left this device's share and are still referenced: ${examples}.`,
  });
}

/** Whether the table's primary key sees to it that no key comes twice. */
function isGuarded({ table, local }: MergedTable): boolean {
  return local.primaryKey.length > 0 && local.primaryKey.every((column) => table.key.includes(column));
}
