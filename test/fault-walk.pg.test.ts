import { FAULT_POINTS, type FaultPoint } from '@waypost/runtime';
import { type Fault, FaultBench } from './support/fault-bench.js';

/** Real processes and real databases: each fault point × SIGKILL, and what must hold after it. */

const POINTS = Object.entries(FAULT_POINTS).map(([point, when]) => ({ point: point as FaultPoint, when }));

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
