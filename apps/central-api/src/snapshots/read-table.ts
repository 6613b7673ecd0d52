import { type ChunkIndex, type ColumnDefault, type TableIndex, WaypostError } from '@waypost/contracts';
import { type KeyedSource, type RowLayout, statementOf, traced } from '@waypost/runtime';
import type pg from 'pg';
import type { EarlierRead } from '../capture/changed-keys.js';
import type { RowChanges } from '../chunk-store/row-changes.js';
import type { SnapshotStore } from '../chunk-store/snapshot-store.js';
import type { CheckedTable } from '../plan/check-plan.js';
import { queryFault } from '../plan/query-fault.js';
import type { ResolvedTable } from '../plan/resolve-table.js';
import { checkKey } from './check-key.js';
import { rebuildTable } from './rebuild-table.js';
import { storeTable } from './store-table.js';
import { totalsOf } from '../chunk-store/totals.js';

/** A table of the plan as one scope sees it. */
export interface ScopedTable extends RowLayout, ResolvedTable {
  table: CheckedTable;
  columns: ResolvedTable['columns'];
  key: string[];
  /** What a device that creates the table makes beside its key. */
  indexes: TableIndex[];
  /** Constant defaults of its columns. */
  defaults: ColumnDefault[];
  /** The canonical query, its parameters read from the transaction's settings. */
  query: string;
  /** The same, for reading ranges of keys. */
  ranges: KeyedSource;
}

/** What a table has, and how that was found out. */
export interface TableReading {
  index: ChunkIndex;
  /** All of it was read now; only the chunks that changed rows lie in; or it was read before, and still holds. */
  source: 'built' | 'changed' | 'shared';
  /** What was read of it now. */
  readRows: number;
  readBytes: number;
  /** Why it was read whole although it had been read earlier. */
  wholeBecause?: string | undefined;
}

interface FreshReading extends TableReading {
  source: 'built' | 'changed';
}

export interface ReadOptions {
  store: Pick<SnapshotStore, 'create' | 'findBase'>;
  /** Takes which rows differ from an earlier reading. */
  changes?: Pick<RowChanges, 'note'> | undefined;
  signal?: AbortSignal | undefined;
  /** How long each table took that was read. */
  onTable?: (seconds: number, source: 'built' | 'changed') => void;
}

export function sharedReading(index: ChunkIndex): TableReading {
  return { index, source: 'shared', readRows: 0, readBytes: 0 };
}

/**
 * Reads a table's share and stores it: only the chunks that changed rows lie in, where that is possible, or all of it.
 * @param earlier how it was read earlier, or why that is of no use
 * @throws WaypostError ROW_TOO_LARGE, KEY_NOT_UNIQUE, STORAGE_FAILED, PLAN_INVALID where the query fails on a row
 */
export async function readTable(
  client: pg.ClientBase,
  scoped: ScopedTable,
  options: ReadOptions,
  earlier?: EarlierRead | string,
): Promise<FreshReading> {
  const { table, query } = scoped;
  const startedAt = performance.now();
  const reading = await traced('build table', { attributes: { 'waypost.table': table.name, ...statementOf(query) } }, async () => {
    if (!scoped.keyIsProven) await checkKey(client, table, query, scoped);
    const rebuilt = typeof earlier === 'object' ? await readChanges(client, scoped, earlier, options) : undefined;
    if (rebuilt && typeof rebuilt === 'object') return rebuilt;
    return readWhole(client, scoped, options, rebuilt ?? (typeof earlier === 'string' ? earlier : undefined));
  }).catch((error: unknown) => {
    if (isRowTooLarge(error)) throw new WaypostError('ROW_TOO_LARGE', { detail: `${table.name}: ${error.message}`, cause: error });
    throw queryFault(error, `query of ${table.name}`);
  });
  options.onTable?.((performance.now() - startedAt) / 1000, reading.source);
  return reading;
}

async function readWhole(
  client: pg.ClientBase,
  scoped: ScopedTable,
  { store, signal }: ReadOptions,
  wholeBecause: string | undefined,
): Promise<FreshReading> {
  const index = await storeTable(client, { query: scoped.query, layout: scoped, store, signal });
  const { rowCount, rawBytes } = totalsOf(index);
  return { index, source: 'built', readRows: rowCount, readBytes: rawBytes, wholeBecause };
}

/** @returns a text where the table is to be read whole: why */
async function readChanges(
  client: pg.ClientBase,
  { ranges }: ScopedTable,
  { id, ...change }: EarlierRead,
  { store, changes: noted, signal }: ReadOptions,
): Promise<FreshReading | string> {
  const base = await store.findBase(id);
  if (!base) return 'what was read of it earlier is not in the store any more';
  const rebuilt = await rebuildTable(client, { ...change, base, source: ranges, store, signal }).catch(unlessLost);
  if (typeof rebuilt === 'string') return rebuilt;
  const { changes, ...reading } = rebuilt;
  const { sha256, frameBytes } = totalsOf(reading.index);
  if (changes) noted?.note(id, { sha256, format: id.format }, { keyFields: base.borders.keyFields, rows: changes, frameBytes });
  return { ...reading, source: 'changed' };
}

function unlessLost(error: unknown): string {
  if (error instanceof WaypostError && error.code === 'SNAPSHOT_MISSING') return 'what was read of it earlier is damaged in the store';
  throw error;
}

function isRowTooLarge(error: unknown): error is WaypostError {
  return error instanceof WaypostError && error.code === 'ROW_TOO_LARGE';
}
