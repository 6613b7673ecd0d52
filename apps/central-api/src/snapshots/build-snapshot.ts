import { type ChunkIndex, quoteTable, type UserType, WaypostError } from '@waypost/contracts';
import { describeTables, pinSession, type RowLayout, statementOf, traced, TypeCatalog, typesOf } from '@waypost/runtime';
import type pg from 'pg';
import type { CheckedPlan, CheckedTable } from '../plan/check-plan.js';
import { canonicalTableQuery, type ResolvedTable, resolveTable } from '../plan/resolve-table.js';
import { bindScope, readParameter, type Scope } from '../scopes/resolve-scope.js';
import { checkKey } from './check-key.js';
import type { SnapshotStore } from './snapshot-store.js';
import { storeTable } from './store-table.js';

/** One table of a snapshot: its rows are in the store, this is what names them. */
export interface TableSnapshot extends RowLayout, ResolvedTable {
  table: CheckedTable;
  columns: ResolvedTable['columns'];
  key: string[];
  /** The canonical query, its parameters read from the transaction's settings. */
  query: string;
  index: ChunkIndex;
}

export interface Snapshot {
  tables: TableSnapshot[];
  types: UserType[];
}

interface BuildOptions {
  plan: CheckedPlan;
  scope: Scope;
  store: Pick<SnapshotStore, 'create'>;
  signal?: AbortSignal | undefined;
  /** How long each table took. */
  onTable?: (seconds: number) => void;
}

/**
 * Reads a device's share of all tables and stores it, in the transaction under way, which must be REPEATABLE READ, so that all
 * tables are of one moment. Streams: memory does not depend on the size of the tables.
 * @throws WaypostError PLAN_INVALID when the database was altered so that the plan does not fit any more; STORAGE_FAILED, ROW_TOO_LARGE,
 * KEY_NOT_UNIQUE
 */
export async function buildSnapshot(client: pg.ClientBase, { plan, scope, store, signal, onTable }: BuildOptions): Promise<Snapshot> {
  const described = await describeTables(
    client,
    plan.tables.map((table) => table.identifier),
  );
  const types = await TypeCatalog.read(client, typesOf(described.values()));
  const resolved = plan.tables.map((table) => {
    const { resolved, problems } = resolveTable(table, described.get(quoteTable(table.identifier)), types);
    if (resolved) return { table, ...resolved };
    throw new WaypostError('PLAN_INVALID', {
      detail: `The database was altered: ${problems.map((problem) => problem.message).join('; ')}`,
    });
  });
  await pinSession(client);
  await bindScope(client, scope);

  const tables: TableSnapshot[] = [];
  for (const { table, ...shape } of resolved) {
    const startedAt = performance.now();
    const layout = { ...shape, format: types.formatFor(typesOf([shape])) };
    const query = canonicalTableQuery(table, layout, (name) => readParameter(plan, scope, name));
    if (!shape.keyIsProven) await checkKey(client, table, query, shape);
    const index = await traced('build table', { attributes: { 'waypost.table': table.name, ...statementOf(query) } }, () =>
      storeTable(client, { query, layout, store, signal }),
    ).catch((error: unknown) => {
      throw isRowTooLarge(error) ? new WaypostError('ROW_TOO_LARGE', { detail: `${table.name}: ${error.message}`, cause: error }) : error;
    });
    tables.push({ table, ...layout, query, index });
    onTable?.((performance.now() - startedAt) / 1000);
  }
  return { tables, types: types.userTypes(typesOf(resolved)) };
}

function isRowTooLarge(error: unknown): error is WaypostError {
  return error instanceof WaypostError && error.code === 'ROW_TOO_LARGE';
}
