import { type ChunkIndex, ChunkIndexBuilder, quoteTable, sha256, type UserType, WaypostError } from '@waypost/contracts';
import {
  compress,
  describeSpan,
  describeTables,
  faultPoint,
  pinSession,
  readChunks,
  releaseMemory,
  type RowLayout,
  statementOf,
  traced,
  TypeCatalog,
  typesOf,
  ZSTD_SLACK_BYTES,
} from '@waypost/runtime';
import type pg from 'pg';
import type { CheckedPlan, CheckedTable } from '../plan/check-plan.js';
import { canonicalTableQuery, type ResolvedTable, resolveTable } from '../plan/resolve-table.js';
import { bindScope, readParameter, type Scope } from '../scopes/resolve-scope.js';
import { checkKey } from './check-key.js';
import type { SnapshotStore } from './snapshot-store.js';

/** Frames are written in pieces of at least this size. */
const WRITE_BYTES = 256 << 10;

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

interface TableRead {
  query: string;
  layout: RowLayout;
  store: Pick<SnapshotStore, 'create'>;
  signal: AbortSignal | undefined;
}

/** Rows → chunks → digests and zstd frames → store. What was compressed is written before more is read: PostgreSQL waits for the disk. */
async function storeTable(client: pg.ClientBase, { query, layout, store, signal }: TableRead): Promise<ChunkIndex> {
  const index = new ChunkIndexBuilder(layout.format);
  const writer = await store.create();
  let frames: Buffer[] = [];
  let pendingBytes = 0;
  const flush = async (): Promise<void> => {
    await faultPoint('central.mid-build');
    await writer.append(frames);
    for (const frame of frames) releaseMemory(frame, ZSTD_SLACK_BYTES);
    frames = [];
    pendingBytes = 0;
  };
  try {
    await readChunks(client, {
      query,
      layout,
      signal,
      onChunk: (bytes, rowCount) => {
        const frame = compress(bytes);
        index.add({ digest: sha256(bytes), rowCount, rawBytes: bytes.length, frameBytes: frame.length });
        frames.push(frame);
        pendingBytes += frame.length;
      },
      afterInput: () => (pendingBytes >= WRITE_BYTES ? flush() : undefined),
    });
    await flush();
    const built = index.build();
    await writer.commit(built);
    const { rowCount, rawBytes, frameBytes } = built.totals();
    describeSpan({ 'waypost.rows': rowCount, 'waypost.raw_bytes': rawBytes, 'waypost.stream_bytes': frameBytes });
    return built;
  } finally {
    await writer.abort();
  }
}
