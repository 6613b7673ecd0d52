/** Both lengths fit in V8's young generation: beyond it each match costs several times as much, once, which is no growth. */
const UNITS = 500;
const MAX_ROUNDS = 20;
/** As good as it gets. */
const LINEAR = 12;

/**
 * How many times longer work takes on a text that is eight times as long: about 8 where it is linear, 64 where it is quadratic. The machine's speed
 * cancels out, and so does its load: the best time of each length counts, of as many rounds as it takes to see a linear one.
 */
export function costOfEightfold(unit: string, work: (text: string) => unknown): number {
  const texts = [unit.repeat(UNITS), unit.repeat(8 * UNITS)] as const;
  const best = [Infinity, Infinity] as [number, number];
  for (let round = 0; round < MAX_ROUNDS && !(best[1] / best[0] < LINEAR); round += 1) {
    for (const at of [0, 1] as const)
      best[at] = Math.min(
        best[at],
        timeOf(() => work(texts[at])),
      );
  }
  return best[1] / best[0];
}

function timeOf(work: () => unknown): number {
  const startedAt = performance.now();
  work();
  return performance.now() - startedAt;
}
