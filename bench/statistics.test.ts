import { latencyOf } from './statistics.js';

test('percentiles are samples, whatever order these come in', () => {
  const samples = Array.from({ length: 200 }, (_, at) => ((at * 7) % 200) + 1);
  expect(latencyOf(samples)).toEqual({ p50: 101, p99: 199, max: 200 });
  expect(samples[1]).toBe(8);
});

test('of one sample all are that one, of none there are none', () => {
  expect(latencyOf([3])).toEqual({ p50: 3, p99: 3, max: 3 });
  expect(latencyOf([])).toEqual({ p50: NaN, p99: NaN, max: NaN });
});
