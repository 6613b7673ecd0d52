/** Repairs of rows that drift again and again are at most so far apart. */
const MAX_WAIT_MS = 86_400_000;

/** In how many scrubs in a row the same rows may drift, at most, between two repairs. 1: each scrub repairs. */
export function maxScrubsPerRepair(intervalMs: number): number {
  return Math.max(1, Math.floor(MAX_WAIT_MS / intervalMs));
}

/**
 * Whether rows that drifted in so many scheduled scrubs in a row, this one included, are put right now: in the first, the second, the fourth, the eighth…, and
 * at least once in `maxScrubs`.
 */
export function isRepairDue(streak: number, maxScrubs: number): boolean {
  let at = 1;
  for (let gap = 1; at < streak; gap = Math.min(2 * gap, maxScrubs)) at += gap;
  return at === streak;
}
