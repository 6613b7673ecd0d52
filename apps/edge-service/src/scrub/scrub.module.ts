import { type DynamicModule, Global, Inject, Module, type OnApplicationBootstrap } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { PeriodicTasks } from '@waypost/runtime/service';
import { SCRUB_OPTIONS, type ScrubOptions } from './scrub-options.js';
import { ScrubLog } from './scrub-log.js';
import { Scrubber } from './scrubber.js';

/** Of the interval, either way: devices that were switched on together spread out. */
const JITTER = 0.1;
/** After a start: what was interrupted is gone on with. */
const FIRST_WAIT_MS = 60_000;
/** How soon it is tried again where the device held nothing yet. */
const RETRY_MS = 600_000;

/** Scrubs of what the device holds, on a timer and on demand. */
@Global()
@Module({ providers: [ScrubLog, Scrubber, PeriodicTasks], exports: [Scrubber] })
export class ScrubModule implements OnApplicationBootstrap {
  static forRoot(options: ScrubOptions): DynamicModule {
    return { module: ScrubModule, providers: [{ provide: SCRUB_OPTIONS, useValue: options }] };
  }

  constructor(
    @Inject(SCRUB_OPTIONS) private readonly options: ScrubOptions,
    private readonly tasks: PeriodicTasks,
    private readonly scrubber: Scrubber,
  ) {}

  onApplicationBootstrap(): void {
    const { intervalMs } = this.options;
    if (intervalMs === 0) return;
    this.tasks.start({
      name: 'scrub',
      run: async () => {
        const dueMs = await this.scrubber.findDueMs(intervalMs);
        if (dueMs > 0) return dueMs;
        await this.scrubber.run('schedule').catch((error: unknown) => {
          if (!(error instanceof WaypostError) || !EXPECTED.includes(error.code)) throw error;
        });
        return intervalMs * (1 + JITTER * (2 * Math.random() - 1));
      },
      waitMs: (nextMs) => nextMs ?? RETRY_MS,
      firstWaitMs: Math.min(FIRST_WAIT_MS, intervalMs) * (1 + Math.random()),
      failure: 'the scrub broke off',
    });
  }
}

/** Then nothing is wrong. */
const EXPECTED: readonly string[] = ['SCRUB_RUNNING', 'NOTHING_HELD', 'SHUTTING_DOWN'];
