import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { SchedulerRegistry } from '@nestjs/schedule';
import type { Logger } from 'pino';
import { MAX_TIMER_MS } from '../system/pause.js';
import { LOGGER } from '../telemetry/logging.js';

/** Waits for ever: the task runs only when `runIn` asks for it. */
export const ON_DEMAND = Infinity;

/** Work that a service repeats in the background. */
export interface PeriodicTask<Result> {
  /** Unique within the service; its timer has this name in SchedulerRegistry. */
  name: string;
  /** The signal fires when the service stops: then it ends early. */
  run: (signal: AbortSignal) => Promise<Result>;
  /** How long to wait after a run. A function gets what the run returned, or undefined where it failed. */
  waitMs: number | ((result: Result | undefined) => number);
  /** How long to wait before the first run; by default it runs at once. */
  firstWaitMs?: number;
  /** The warning that a failed run logs. */
  failure: string;
}

/** A task that was started. */
export interface StartedTask {
  /** Brings the next run forward. A run in progress ends first. */
  runIn(delayMs: number): void;
}

/**
 * Runs tasks again and again: the next wait of a task begins when its run has ended, so its runs never overlap. A run that fails is logged, and the
 * task goes on. When the service stops, runs in progress are aborted and awaited. Timers keep no process alive.
 */
@Injectable()
export class PeriodicTasks implements OnModuleDestroy {
  private readonly stop = new AbortController();
  private readonly loops: { end(): Promise<void> }[] = [];

  constructor(
    private readonly registry: SchedulerRegistry,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  start<Result>(task: PeriodicTask<Result>): StartedTask {
    const loop = new TaskLoop(task, { registry: this.registry, logger: this.logger, signal: this.stop.signal });
    this.loops.push(loop);
    loop.runIn(task.firstWaitMs ?? 0);
    return loop;
  }

  async onModuleDestroy(): Promise<void> {
    this.stop.abort();
    await Promise.all(this.loops.map((loop) => loop.end()));
  }
}

interface LoopContext {
  registry: SchedulerRegistry;
  logger: Logger;
  signal: AbortSignal;
}

class TaskLoop<Result> implements StartedTask {
  /** When the next run is due; a time of performance.now(). */
  private dueAt = Infinity;
  private running: Promise<void> | undefined;

  constructor(
    private readonly task: PeriodicTask<Result>,
    private readonly context: LoopContext,
  ) {}

  runIn(delayMs: number): void {
    this.dueAt = Math.min(this.dueAt, performance.now() + delayMs);
    if (!this.running) this.setTimer();
  }

  /** To be called after the signal has fired. */
  async end(): Promise<void> {
    this.clearTimer();
    await this.running;
  }

  private setTimer(): void {
    this.clearTimer();
    if (this.context.signal.aborted || this.dueAt === Infinity) return;
    const run = (): void => void (this.running = this.run());
    const timer = setTimeout(run, Math.min(MAX_TIMER_MS, Math.max(0, this.dueAt - performance.now())));
    this.context.registry.addTimeout(this.task.name, timer.unref());
  }

  private clearTimer(): void {
    const { registry } = this.context;
    if (registry.doesExist('timeout', this.task.name)) registry.deleteTimeout(this.task.name);
  }

  private async run(): Promise<void> {
    const { run, waitMs, failure } = this.task;
    let result: Result | undefined;
    this.clearTimer();
    this.dueAt = Infinity;
    try {
      result = await run(this.context.signal);
    } catch (err) {
      this.context.logger.warn({ err }, failure);
    }
    this.running = undefined;
    this.runIn(typeof waitMs === 'number' ? waitMs : waitMs(result));
  }
}
