import { setTimeout as delay } from 'node:timers/promises';

interface LatestOptions {
  /** A value is good for so long; a failure, too, so that what is broken is not asked at each scrape. */
  ttlMs: number;
  /** A caller waits no longer. The work goes on, and the next caller has its outcome. */
  timeoutMs: number;
}

type Outcome<T> = { value: T } | { failed: true };

/**
 * A value that is dear to find out, for probes and scrapes that come as they like: worked out by one at a time, kept for a while, and
 * nobody waits for long.
 */
export class Latest<T> {
  private underWay: Promise<Outcome<T>> | undefined;
  private last: { outcome: Outcome<T>; atMs: number } | undefined;

  constructor(
    private readonly work: () => Promise<T>,
    private readonly options: LatestOptions,
  ) {}

  /** @returns undefined when it failed or did not come in time; never throws */
  async get(): Promise<T | undefined> {
    if (this.last && performance.now() - this.last.atMs < this.options.ttlMs) return valueOf(this.last.outcome);
    const waiting = new AbortController();
    const late = delay(this.options.timeoutMs, undefined, { signal: waiting.signal, ref: false }).catch(() => undefined);
    const outcome = await Promise.race([this.run(), late]);
    waiting.abort();
    return outcome && valueOf(outcome);
  }

  private run(): Promise<Outcome<T>> {
    this.underWay ??= this.work()
      .then(
        (value): Outcome<T> => ({ value }),
        (): Outcome<T> => ({ failed: true }),
      )
      .then((outcome) => {
        this.last = { outcome, atMs: performance.now() };
        this.underWay = undefined;
        return outcome;
      });
    return this.underWay;
  }
}

function valueOf<T>(outcome: Outcome<T>): T | undefined {
  return 'value' in outcome ? outcome.value : undefined;
}
