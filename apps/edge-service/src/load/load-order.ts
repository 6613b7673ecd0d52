import type { ManifestTable, MirrorShape, TableShape } from '@waypost/contracts';
import type pg from 'pg';
import type { ChunkSource } from '../chunk-source/chunk-source.js';

/** What a load is to do. */
export interface LoadOrder {
  shape: MirrorShape;
  /** The tables to load; for `truncate`, what references them here is among them. */
  tables: readonly TableShape[];
  spooled: ReadonlyMap<string, ChunkSource>;
  /** Called when all rows are loaded: the manifest's tables, of which those in `tables` are verified. */
  settle: () => Promise<readonly ManifestTable[]>;
  /** Runs as the transaction's last statements: what must be true together with the rows. */
  record: (client: pg.ClientBase) => Promise<void>;
  /** Called around each part. */
  step: <T>(name: string, facts: object, work: () => Promise<T>) => Promise<T>;
  /** Aborts the transaction and closes the connection. */
  signal: AbortSignal;
}
