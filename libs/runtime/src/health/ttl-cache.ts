import { setTimeout as delay } from 'node:timers/promises';

interface TtlCacheOptions {
  /** How long an outcome is reused. A failure is kept as long, so that a broken part is not tried at each scrape. */
  ttlMs: number;
  /** How long a caller waits at most. The computation goes on, and the next caller gets its outcome. */
  timeoutMs: number;
}

type Outcome<T> = { value: T } | { failed: true };

/**
 * Caches one value that is expensive to compute, for probes and scrapes that come at any time. Only one computation runs at a time; callers
 * share it and wait a limited time.
 */
export class TtlCache<T> {
  private running: Promise<Outcome<T>> | undefined;
  private last: { outcome: Outcome<T>; atMs: number } | undefined;

  constructor(
    private readonly compute: () => Promise<T>,
    private readonly options: TtlCacheOptions,
  ) {}

  /** @returns undefined after a failure or a timeout; never throws */
  async get(): Promise<T | undefined> {
    if (this.last && performance.now() - this.last.atMs < this.options.ttlMs) return valueOf(this.last.outcome);
    const waiting = new AbortController();
    const timeout = delay(this.options.timeoutMs, undefined, { signal: waiting.signal, ref: false }).catch(() => undefined);
    const outcome = await Promise.race([this.run(), timeout]);
    waiting.abort();
    return outcome && valueOf(outcome);
  }

  private run(): Promise<Outcome<T>> {
    this.running ??= this.compute()
      .then(
        (value): Outcome<T> => ({ value }),
        (): Outcome<T> => ({ failed: true }),
      )
      .then((outcome) => {
        this.last = { outcome, atMs: performance.now() };
        this.running = undefined;
        return outcome;
      });
    return this.running;
  }
}

function valueOf<T>(outcome: Outcome<T>): T | undefined {
  return 'value' in outcome ? outcome.value : undefined;
}
