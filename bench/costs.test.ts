import { Costs, sumOf } from './costs.js';
import { costRows } from './costs-report.js';

test('costs are collected by name; what was not measured is left out', () => {
  const costs = new Costs();
  costs.add('sync', { ms: 1500, bytes: 900, centralCpuMs: 20 });
  costs.add('copy', { ms: 3 });
  costs.add('sync', { ms: 500, bytes: 1100, centralCpuMs: 10 });
  costs.add('sync', { ms: 800, bytes: 1000, centralCpuMs: 40 });
  const spreads = costs.spreads();
  expect(spreads['sync']).toEqual({ ms: { median: 800, min: 500, max: 1500, all: [1500, 500, 800] }, bytes: 1000, centralCpuMs: 20 });
  expect(Object.keys(spreads['copy']!)).toEqual(['ms']);

  expect(costRows(spreads, { copy: 'COPY', never: 'never measured', sync: 'a sync' })).toEqual([
    ['', 'wall', '', 'wire, both ways', 'CPU of central'],
    ['COPY', '3.0 ms', '(3.0 ms–3.0 ms)', '–', '–'],
    ['a sync', '800 ms', '(500 ms–1.50 s)', '1.0 KB', '20 ms'],
  ]);
});

test('costs add up, those that are known', () => {
  expect(sumOf([{ ms: 1, bytes: 10 }])).toEqual({ ms: 1, bytes: 10 });
  expect(
    sumOf([
      { ms: 1, bytes: 10, centralCpuMs: 5 },
      { ms: 2, bytes: 20, centralCpuMs: 0 },
    ]),
  ).toEqual({ ms: 3, bytes: 30, centralCpuMs: 5 });
});
