import { bytes, milliseconds, targetLine } from './report.js';

test.each([
  [999, '999 B'],
  [1000, '1.0 KB'],
  [999_900, '999.9 KB'],
  [2.5e6, '2.5 MB'],
])('%i bytes are written %s', (count, text) => {
  expect(bytes(count)).toBe(text);
});

test.each([
  [9.94, '9.9 ms'],
  [40, '40 ms'],
  [1000, '1.00 s'],
])('%d ms are written %s', (ms, text) => {
  expect(milliseconds(ms)).toBe(text);
});

test.each([
  ['is reached at its limit', 40, ['✓', 'sync', '40 ms', '≤ 40 ms']],
  ['is not reached above it', 40.6, ['✗', 'sync', '41 ms', '≤ 40 ms']],
  ['is not reached where nothing was measured', NaN, ['✗', 'sync', '–', '≤ 40 ms']],
  ['says why there is no value', 'parked', ['✗', 'sync', 'parked', '≤ 40 ms']],
])('a target %s', (_, value, line) => {
  expect(targetLine('sync', value, 40, milliseconds)).toEqual(line);
});
