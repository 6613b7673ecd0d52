import { type Query, queryOn, withClient } from '@waypost/runtime';
import type pg from 'pg';
import { awaitBuilds } from '../chunk-store/builds.js';
import { PRUNE_READS } from './prune-changes.sql.js';
import { PRUNE_CHANGES, READ_HORIZON, READ_SEEN_BY_ALL } from './prune-changes.sql.js';

/** A statement's work: short enough that nothing waits long for it. */
const BATCH_ROWS = 10_000;

interface PruneOptions {
  /** How long builds in progress are waited for. */
  maxWaitMs: number;
  signal: AbortSignal;
}

/**
 * Removes captured changes that everything has seen, and table reads that nothing has used for a day. Builds go on meanwhile; those in progress are
 * waited for, since what they make may have seen less (docs/adr/0029).
 * @returns how many changes; undefined when the builds did not end in time
 */
export async function pruneChanges(pool: pg.Pool, options: PruneOptions): Promise<number | undefined> {
  return withClient(pool, async (client) => {
    const query = queryOn(client);
    await query(PRUNE_READS);
    const [horizon] = await query<{ xid: string }>(READ_HORIZON);
    if (!(await awaitBuilds(client, options))) return undefined;
    const [seen] = await query<{ xid: string }>(READ_SEEN_BY_ALL, [horizon?.xid]);
    return pruneBefore(query, seen?.xid ?? '0');
  });
}

async function pruneBefore(query: Query, seenByAll: string): Promise<number> {
  let total = 0;
  for (;;) {
    const [row] = await query<{ pruned: number }>(PRUNE_CHANGES, [seenByAll, BATCH_ROWS]);
    const pruned = row?.pruned ?? 0;
    total += pruned;
    if (pruned < BATCH_ROWS) return total;
  }
}
