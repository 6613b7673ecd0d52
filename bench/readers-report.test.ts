import type { ReadersReport, Sizes } from './readers.js';
import { formatReaders } from './readers-report.js';
import { spreadOf } from './statistics.js';

const SIZES: Sizes = { table: 1e6, indexes: 1e5, deviceWaypost: 1e5, store: 5e5, centralWaypost: 1e6 };
const LATENCY = { p50: 0.5, p99: 5, max: 50 };

/** Every target just reached. */
const REACHED: ReadersReport = {
  case: 'readers',
  date: '2026-11-21T00:00:00.000Z',
  machine: { cpu: 'CPU', cores: 2, memoryBytes: 25e9, system: 'Linux' },
  versions: { node: '24', postgres: '18' },
  settings: { autovacuum: 'on' },
  rows: 100_000,
  syncs: 1000,
  changed: 100,
  mixtures: 0,
  sums: 300,
  alone: { row: LATENCY, sums: LATENCY },
  beside: { row: LATENCY, sums: { ...LATENCY, max: 900 } },
  sync: { ms: spreadOf([100]) },
  before: SIZES,
  after: Object.fromEntries(Object.entries(SIZES).map(([name, size]) => [name, size * 1.5])) as Sizes,
};

const missedIn = (report: ReadersReport): string[] =>
  formatReaders(report)
    .split('\n')
    .filter((line) => line.startsWith('  ✗'));

test('all targets can be reached', () => {
  expect(missedIn(REACHED)).toEqual([]);
  expect(formatReaders(REACHED)).toContain('100,000 rows; 1,000 syncs, 100 rows changed before each');
});

test('one mixture, one long read, one table that grows is a target missed', () => {
  const missed = missedIn({
    ...REACHED,
    mixtures: 1,
    beside: { ...REACHED.beside, row: { ...LATENCY, max: 51 } },
    after: { ...REACHED.after, store: SIZES.store * 2 },
  });
  expect(missed).toHaveLength(3);
  expect(missed[0]).toMatch(/mixtures of two manifests +1 +≤ 0$/);
  expect(missed[1]).toMatch(/longest time for a row +51 ms +≤ 50 ms$/);
  expect(missed[2]).toMatch(/chunk store, growth +2.00 × +≤ 1.50 ×$/);
});
