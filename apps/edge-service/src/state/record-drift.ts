import { queryPrepared } from '@waypost/runtime';
import type pg from 'pg';
import { RECORD_DRIFT } from './state.sql.js';

/** Chunks with other rows than were verified last. Keys are those of PostgreSQL's text form, column by column. */
export interface Drift {
  table: string;
  chunks: number;
  /** More than this key; null: from the table's beginning. */
  firstKey: string | null;
  /** Up to this key; null: to the table's end. */
  lastKey: string | null;
}

/**
 * Also makes the next comparison with a manifest read the table again, whenever that is.
 * @param scrubId the scrub that found it; null: a sync met it
 */
export async function recordDrift(
  client: pg.ClientBase,
  scrubId: string | null,
  { table, chunks, firstKey, lastKey }: Drift,
): Promise<void> {
  await queryPrepared(client, 'record-drift', RECORD_DRIFT, [scrubId, table, chunks, firstKey, lastKey]);
}
