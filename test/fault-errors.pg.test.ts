import { FAULT_POINTS, type FaultPoint } from '@waypost/runtime';
import { type Fault, FaultBench, isOnTheWay } from './support/fault-bench.js';

/** Real processes and real databases: errors, full disks and stalls at fault points, in services that live on. */

const THROWS = (Object.keys(FAULT_POINTS) as FaultPoint[]).filter(isOnTheWay).map((point): Fault => ({ point, action: 'throw' }));
const FULL_DISKS = (['central.mid-build', 'central.pack-written', 'edge.chunks-received'] as const).map((point): Fault => ({
  point,
  action: 'disk-full',
}));
/** Where something else waits meanwhile: a device for its answer, a reader for its table, a connection for its transaction. */
const STALLS = (['central.mid-build', 'central.mid-download', 'central.ack-received', 'edge.mid-copy', 'edge.before-commit'] as const).map(
  (point): Fault => ({ point, action: 'stall' }),
);

describe('a fault', () => {
  let bench: FaultBench;
  beforeAll(async () => {
    bench = await FaultBench.start();
  });
  afterAll(() => bench?.[Symbol.asyncDispose]());

  test.each(THROWS)('thrown at $point', async (fault) => {
    expect(await bench.survive(fault)).toEqual([]);
  });

  test.each(FULL_DISKS)('a full disk at $point', async (fault) => {
    expect(await bench.survive(fault)).toEqual([]);
  });

  test.each(STALLS)('stalled at $point until it is killed', async (fault) => {
    expect(await bench.survive(fault)).toEqual([]);
  });

  test('and every reader saw whole states all the time', () => bench.expectWholeStates());
});
