import { RefusalBudget } from './refusal-budget.js';

const HOUR_MS = 3_600_000;

test('so many refusals are rows, and of those that are alike only some', () => {
  const budget = new RefusalBudget({ windowMs: HOUR_MS, maxRows: 5, maxAlike: 2 }, () => undefined);
  expect(['a', 'a', 'a', 'b', 'c', 'd', 'e'].map((key) => budget.take(key))).toEqual([true, true, false, true, true, true, false]);
});

test('a window that is over tells what it left out, and the next one starts from nothing', () => {
  const leftOut: number[] = [];
  const budget = new RefusalBudget({ windowMs: 0, maxRows: 0, maxAlike: 0 }, (count) => leftOut.push(count));
  for (let at = 0; at < 3; at += 1) expect(budget.take('a')).toBe(false);
  expect(leftOut).toEqual([1, 1]);
});
