import { FAULT_POINTS, type FaultPoint } from '@waypost/runtime';
import { type Fault, FaultBench, isOnTheWay, OF_DIFFERENCES } from './support/fault-bench.js';

/** Real processes and real databases: each fault point × SIGKILL, and what must hold after it. */

const POINTS = Object.entries(FAULT_POINTS)
  .map(([point, when]) => ({ point: point as FaultPoint, when }))
  .filter(({ point }) => isOnTheWay(point));

describe('killed', () => {
  let bench: FaultBench;
  beforeAll(async () => {
    bench = await FaultBench.start();
  });
  afterAll(() => bench?.[Symbol.asyncDispose]());

  test.each(POINTS)('at $point: $when', async ({ point }) => {
    const fault: Fault = { point, action: 'kill' };
    expect(await bench.survive(fault)).toEqual([]);
  });

  test('and every reader saw whole states all the time', () => bench.expectWholeStates());
});

describe('with LOAD_STRATEGY=truncate', () => {
  let bench: FaultBench;
  beforeAll(async () => {
    bench = await FaultBench.start('truncate');
  });
  afterAll(() => bench?.[Symbol.asyncDispose]());

  test.each(OF_DIFFERENCES)('nothing comes to %s: a table that is emptied first comes whole', async (point) => {
    expect(await bench.survive({ point, action: 'throw' })).toEqual([expect.stringContaining(`the cycle ended without ${point}`)]);
  });
});
