import type { CostSpread } from './costs.js';
import type { DeltaRun } from './delta.js';
import { deltaTargets } from './delta-report.js';
import { spreadOf } from './statistics.js';

const cost = (ms: number, bytes?: number, centralCpuMs?: number): CostSpread => ({
  ms: spreadOf([ms]),
  ...(bytes === undefined ? {} : { bytes }),
  ...(centralCpuMs === undefined ? {} : { centralCpuMs }),
});

/** Every target just reached. */
const REACHED: DeltaRun = {
  keys: 'bigint',
  rows: 1_000_000,
  smallRows: 100_000,
  costs: {
    one: cost(40, 3000),
    hundred: cost(130, 10_000, 60),
    hundredSmall: cost(100, 9000, 50),
    tenth: cost(900, 2.5e6),
    tenthReplicated: cost(900, 20e6),
    entered: cost(1200, 20_000),
    scopeCopied: cost(1000),
    absence: cost(10_000, 3e6),
    column: cost(6000, 100_000),
  },
  fetchedAgain: 0.12,
  fleet: { reads: 1, totalMs: 3000, afterLastReadMs: 2000, peakBytes: 250e6 },
};

const missedIn = (run: DeltaRun): (string | undefined)[] =>
  deltaTargets(run, 200)
    .filter(([mark]) => mark !== '✓')
    .map(([, name]) => name);

test('all targets can be reached', () => {
  expect(missedIn(REACHED)).toEqual([]);
});

test('ratios are of measurements of the same run', () => {
  const slow = { ...REACHED.costs, hundredSmall: cost(99), tenthReplicated: cost(899), scopeCopied: cost(999) };
  expect(missedIn({ ...REACHED, costs: slow })).toEqual([
    '100 rows / the same in a tenth of the rows',
    '10 % updated / logical replication',
    '100 enter, 100 leave / COPY out of the scope',
  ]);
});

test('a column that parks the device stands there with its error in place of time and bytes', () => {
  const { column: _, ...costs } = REACHED.costs;
  const lines = deltaTargets({ ...REACHED, costs, parkedCode: 'SCHEMA_MISMATCH' }, 200).filter(([, name]) => name?.includes('column'));
  expect(lines).toEqual([
    ['✗', 'a column added', 'parked (SCHEMA_MISMATCH)', '≤ 6.00 s'],
    ['✗', 'a column added, wire', 'parked (SCHEMA_MISMATCH)', '≤ 100.0 KB'],
  ]);
});
