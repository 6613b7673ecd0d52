import type { WaypostError } from '@waypost/contracts';

/** Waiting for a turn: given up at `until` (of performance.now()), or when the one who waits has gone. */
export interface Patience {
  until: number;
  signal: AbortSignal;
}

/** A number of places with a queue before them, first come, first served. */
export class Turns {
  private free: number;
  private readonly queue: (() => void)[] = [];

  constructor(
    private readonly places: number,
    private readonly busy: () => WaypostError,
  ) {
    this.free = places;
  }

  get inUse(): number {
    return this.places - this.free;
  }

  get waiting(): number {
    return this.queue.length;
  }

  /**
   * Takes a place; disposing of it gives it to the next, and may be done twice.
   * @throws what `busy` makes when the patience ends; the signal's reason when it fires
   */
  async take(patience: Patience): Promise<Disposable> {
    patience.signal.throwIfAborted();
    if (this.free > 0) this.free -= 1;
    else await this.wait(patience);
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (held) this.pass();
        held = false;
      },
    };
  }

  private pass(): void {
    const next = this.queue.shift();
    if (next) next();
    else this.free += 1;
  }

  private wait({ until, signal }: Patience): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
      };
      const turn = (): void => {
        leave();
        resolve();
      };
      const giveUp = (error: Error): void => {
        leave();
        this.queue.splice(this.queue.indexOf(turn), 1);
        reject(error);
      };
      const onAbort = (): void => giveUp(signal.reason as Error);
      const timer = setTimeout(() => giveUp(this.busy()), Math.max(0, until - performance.now()));
      signal.addEventListener('abort', onAbort, { once: true });
      this.queue.push(turn);
    });
  }
}

/** One at a time for each key; keys that nobody uses take no memory. */
export class TurnsByKey {
  private readonly turns = new Map<string, Turns>();

  constructor(private readonly busy: (key: string) => WaypostError) {}

  /** As Turns.take. */
  async take(key: string, patience: Patience): Promise<Disposable> {
    const turns = this.turns.get(key) ?? new Turns(1, () => this.busy(key));
    this.turns.set(key, turns);
    const forget = (): void => {
      if (turns.inUse === 0 && turns.waiting === 0 && this.turns.get(key) === turns) this.turns.delete(key);
    };
    try {
      const place = await turns.take(patience);
      return {
        [Symbol.dispose]: () => {
          place[Symbol.dispose]();
          forget();
        },
      };
    } catch (error) {
      forget();
      throw error;
    }
  }

  get size(): number {
    return this.turns.size;
  }
}
