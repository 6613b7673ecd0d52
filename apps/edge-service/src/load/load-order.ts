import type { ManifestTable, MirrorShape, TableShape } from '@waypost/contracts';
import type pg from 'pg';
import type { ChangeSource } from '../chunk-source/change-source.js';
import type { ChunkSource } from '../chunk-source/chunk-source.js';
import type { VerifiedTable } from '../verify/verify-table.js';

/** What a load is to do. */
export interface LoadOrder {
  shape: MirrorShape;
  /** The tables to load; for `truncate`, what references them here is among them. */
  tables: readonly TableShape[];
  spooled: ReadonlyMap<string, ChunkSource>;
  /** In place of `spooled`, for tables of which only what changed is there. */
  changes?: ReadonlyMap<string, ChangeSource>;
  /** Called when all rows are loaded: the manifest's tables, of which those in `tables` are verified. */
  settle: () => Promise<readonly ManifestTable[]>;
  /** Runs as the transaction's last statements: what must be true together with the rows. @param verified what was read back, by table */
  record: (client: pg.ClientBase, verified: ReadonlyMap<string, VerifiedTable>) => Promise<void>;
  /** Called around each part. */
  step: <T>(name: string, facts: object, work: () => Promise<T>) => Promise<T>;
  /** Aborts the transaction and closes the connection. */
  signal: AbortSignal;
}
