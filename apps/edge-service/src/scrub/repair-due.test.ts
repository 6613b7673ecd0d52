import { isRepairDue, maxScrubsPerRepair } from './repair-due.js';

const repairs = (scrubs: number, maxScrubs: number): number[] =>
  Array.from({ length: scrubs }, (_, at) => at + 1).filter((streak) => isRepairDue(streak, maxScrubs));

test('repairs of rows that drift in scrub after scrub come further and further apart, up to a limit', () => {
  expect(repairs(40, 1440)).toEqual([1, 2, 4, 8, 16, 32]);
  expect(repairs(40, 10)).toEqual([1, 2, 4, 8, 16, 26, 36]);
  expect(repairs(5, 1)).toEqual([1, 2, 3, 4, 5]);
});

test('a day lies between two of them at most: a scrub that comes once a day always repairs', () => {
  expect([60_000, 3_600_000, 86_400_000, 7 * 86_400_000].map(maxScrubsPerRepair)).toEqual([1440, 24, 1, 1]);
});
