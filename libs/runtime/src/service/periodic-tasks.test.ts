import { jest } from '@jest/globals';
import { SchedulerRegistry } from '@nestjs/schedule';
import type { Logger } from 'pino';
import { ON_DEMAND, type PeriodicTask, PeriodicTasks } from './periodic-tasks.js';

const registry = new SchedulerRegistry();
const warn = jest.fn();
const create = (): PeriodicTasks => new PeriodicTasks(registry, { warn } as unknown as Logger);
const pass = (ms: number): Promise<void> => jest.advanceTimersByTimeAsync(ms);

beforeEach(() => {
  jest.useFakeTimers();
  warn.mockClear();
});
afterEach(() => jest.useRealTimers());

/** A task that counts its runs; each takes `runMs`, or ends when the signal fires. */
function counting(runMs: number, more: Partial<PeriodicTask<number>> = {}) {
  const counts = { begun: 0, ended: 0, aborted: 0 };
  const task: PeriodicTask<number> = {
    name: 'count',
    failure: 'it could not count',
    waitMs: 1000,
    run: async (signal) => {
      counts.begun += 1;
      await new Promise<void>((resolve) => {
        setTimeout(resolve, runMs);
        signal.addEventListener('abort', () => resolve());
      });
      if (signal.aborted) counts.aborted += 1;
      counts.ended += 1;
      return counts.ended;
    },
    ...more,
  };
  return { task, counts };
}

test('a task runs at start, and waits after the end of each run', async () => {
  const { task, counts } = counting(5000);
  const tasks = create();
  tasks.start(task);
  await pass(1);
  expect(counts.begun).toBe(1);
  await pass(5990);
  expect(counts).toMatchObject({ begun: 1, ended: 1 });
  expect(registry.getTimeouts()).toEqual(['count']);
  await pass(20);
  expect(counts.begun).toBe(2);
  await tasks.onModuleDestroy();
});

test('what a run returns may decide how long to wait; so may its failure', async () => {
  const tasks = create();
  const run = jest.fn<() => Promise<number>>().mockResolvedValueOnce(20).mockRejectedValueOnce(new Error('no')).mockResolvedValue(300);
  tasks.start({ name: 'vary', run, waitMs: (result) => result ?? 1000, failure: 'it could not be done' });
  await pass(15);
  expect(run).toHaveBeenCalledTimes(1);
  await pass(10);
  expect(run).toHaveBeenCalledTimes(2);
  await pass(990);
  expect(run).toHaveBeenCalledTimes(2);
  await pass(10);
  expect(run).toHaveBeenCalledTimes(3);
  await pass(290);
  expect(run).toHaveBeenCalledTimes(3);
  await tasks.onModuleDestroy();
});

test('a run that fails is logged, and the task goes on', async () => {
  const tasks = create();
  let runs = 0;
  const fail = async (): Promise<void> => {
    runs += 1;
    throw new Error(`failure ${runs}`);
  };
  tasks.start({ name: 'fail', run: fail, waitMs: 1000, failure: 'it could not be done' });
  await pass(1000);
  expect(warn.mock.calls).toEqual([1, 2].map((run) => [{ err: new Error(`failure ${run}`) }, 'it could not be done']));
  await tasks.onModuleDestroy();
});

test('a run that is asked for comes earlier, never later, and never beside another', async () => {
  const tasks = create();
  const { task, counts } = counting(100, { firstWaitMs: 5000 });
  const started = tasks.start(task);
  started.runIn(200);
  started.runIn(9000);
  await pass(200);
  expect(counts.begun).toBe(1);
  started.runIn(0);
  await pass(99);
  expect(counts.begun).toBe(1);
  await pass(2);
  expect(counts).toMatchObject({ begun: 2, ended: 1 });
  await pass(1090);
  expect(counts.begun).toBe(2);
  await tasks.onModuleDestroy();
});

test('a task on demand runs only when it is asked for', async () => {
  const tasks = create();
  const { task, counts } = counting(0, { firstWaitMs: ON_DEMAND, waitMs: ON_DEMAND });
  const started = tasks.start(task);
  await pass(1e9);
  expect(counts.begun).toBe(0);
  started.runIn(0);
  await pass(1e9);
  expect(counts.begun).toBe(1);
  await tasks.onModuleDestroy();
});

test('a stop aborts runs in progress, awaits them, and starts no others', async () => {
  const tasks = create();
  const running = counting(60_000);
  const waiting = counting(0, { name: 'wait', firstWaitMs: 60_000 });
  tasks.start(running.task);
  const started = tasks.start(waiting.task);
  await pass(1);
  await tasks.onModuleDestroy();
  expect(running.counts).toEqual({ begun: 1, ended: 1, aborted: 1 });
  expect(registry.getTimeouts()).toEqual([]);
  started.runIn(0);
  await pass(1e9);
  expect(waiting.counts.begun).toBe(0);
});

test('a wait of 24 days and its jitter is more than a timer takes: the task does not run at once', async () => {
  const tasks = create();
  const { task, counts } = counting(0, { firstWaitMs: 1.1 * 24 * 86_400_000 });
  tasks.start(task);
  await pass(60_000);
  expect(counts.begun).toBe(0);
  await tasks.onModuleDestroy();
});
