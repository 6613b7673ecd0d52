import type { Manifest, ManifestTable, MirrorShape, TableShape } from '@waypost/contracts';
import type pg from 'pg';
import type { ChangeSource } from '../chunk-source/change-source.js';
import type { ChunkSource } from '../chunk-source/chunk-source.js';
import type { Alterations } from '../schema/plan-changes.js';
import type { NewLabel } from '../schema/user-types.js';
import type { VerifiedTable } from '../verify/verify-table.js';

/** What is to be altered beside the rows. */
export interface SchemaOrder {
  /** The manifest that the device holds. */
  held: Manifest | undefined;
  alterations: Alterations;
  labels: readonly NewLabel[];
  /** Tables that left the plan, by the names that they had, children last. */
  removed: readonly string[];
  /** Whether those that Waypost created are to be dropped. */
  dropsRemoved: boolean;
}

/** What a load is to do. */
export interface LoadOrder {
  cycleId: string;
  shape: MirrorShape;
  /** The tables to load; for `truncate`, what references them here is among them. */
  tables: readonly TableShape[];
  /** Nothing where it is absent. */
  schema?: SchemaOrder | undefined;
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
