import type { Ask } from '@waypost/runtime';
import { PRUNE_CHANGES } from './unchanged.sql.js';

/** A statement's work: short enough to keep nobody waiting. */
const BATCH_ROWS = 10_000;

/**
 * Removes the changes of transactions before `seenByAll`.
 * @returns how many
 */
export async function pruneChanges(ask: Ask, seenByAll: string): Promise<number> {
  let total = 0;
  for (;;) {
    const [row] = await ask<{ pruned: number }>(PRUNE_CHANGES, [seenByAll, BATCH_ROWS]);
    const pruned = row?.pruned ?? 0;
    total += pruned;
    if (pruned < BATCH_ROWS) return total;
  }
}
