import type { WaypostError } from '@waypost/contracts';

/** How long to wait for a permit: until `until` (of performance.now()), or until the signal fires, as when the client disconnects. */
export interface WaitOptions {
  until: number;
  signal: AbortSignal;
}

/** A number of permits with a queue, first come, first served. */
export class Semaphore {
  private free: number;
  private readonly queue: (() => void)[] = [];

  constructor(
    private readonly permits: number,
    private readonly busy: () => WaypostError,
  ) {
    this.free = permits;
  }

  get inUse(): number {
    return this.permits - this.free;
  }

  get waiting(): number {
    return this.queue.length;
  }

  /**
   * Takes a permit. Disposing of it gives it to the next in the queue; it may be disposed of twice.
   * @throws what `busy` makes when the deadline passes; the signal's reason when it fires
   */
  async take(options: WaitOptions): Promise<Disposable> {
    options.signal.throwIfAborted();
    if (this.free > 0) this.free -= 1;
    else await this.wait(options);
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (held) this.release();
        held = false;
      },
    };
  }

  private release(): void {
    const next = this.queue.shift();
    if (next) next();
    else this.free += 1;
  }

  private wait({ until, signal }: WaitOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      const cleanUp = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
      };
      const grant = (): void => {
        cleanUp();
        resolve();
      };
      const fail = (error: Error): void => {
        cleanUp();
        this.queue.splice(this.queue.indexOf(grant), 1);
        reject(error);
      };
      const onAbort = (): void => fail(signal.reason as Error);
      const timer = setTimeout(() => fail(this.busy()), Math.max(0, until - performance.now()));
      signal.addEventListener('abort', onAbort, { once: true });
      this.queue.push(grant);
    });
  }
}

/** One permit for each key. Keys that are not in use take no memory. */
export class KeyedMutex {
  private readonly mutexes = new Map<string, Semaphore>();

  constructor(private readonly busy: (key: string) => WaypostError) {}

  /** As Semaphore.take. */
  async take(key: string, options: WaitOptions): Promise<Disposable> {
    const mutex = this.mutexes.get(key) ?? new Semaphore(1, () => this.busy(key));
    this.mutexes.set(key, mutex);
    const forget = (): void => {
      if (mutex.inUse === 0 && mutex.waiting === 0 && this.mutexes.get(key) === mutex) this.mutexes.delete(key);
    };
    try {
      const permit = await mutex.take(options);
      return {
        [Symbol.dispose]: () => {
          permit[Symbol.dispose]();
          forget();
        },
      };
    } catch (error) {
      forget();
      throw error;
    }
  }

  get size(): number {
    return this.mutexes.size;
  }
}
