import { type ErrorCode, WaypostError } from '@waypost/contracts';
import { nextDelayMs } from './next-delay.js';

const INTERVAL = 300_000;
const after = (code: ErrorCode | undefined, consecutiveFailures: number, random = 0.5): number =>
  nextDelayMs({ intervalMs: INTERVAL, consecutiveFailures, error: code && new WaypostError(code) }, random);

test('a good cycle is followed by the interval, spread by ten percent', () => {
  expect([after(undefined, 0, 0), after(undefined, 0), after(undefined, 0, 1)]).toEqual([270_000, 300_000, 330_000]);
});

test('a failure that passes is retried soon, then ever later, at most after the interval', () => {
  const delays = [1, 2, 3, 4, 5, 6, 7, 60].map((failures) => after('CENTRAL_UNREACHABLE', failures));
  expect(delays).toEqual([5000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
});

test('a short interval is never exceeded by retries that pass', () => {
  expect(nextDelayMs({ intervalMs: 1000, consecutiveFailures: 1, error: new WaypostError('LOCK_TIMEOUT') }, 0.5)).toBe(1000);
});

test.each(['VERIFICATION_FAILED', 'CHUNK_CORRUPT'] as const)(
  '%s backs off up to an hour instead of loading everything every cycle',
  (code) => {
    expect([1, 2, 3, 4, 5, 50].map((failures) => after(code, failures))).toEqual([
      300_000, 600_000, 1_200_000, 2_400_000, 3_600_000, 3_600_000,
    ]);
  },
);

test('an interval of more than an hour stays what it is', () => {
  expect(nextDelayMs({ intervalMs: 86_400_000, consecutiveFailures: 5, error: new WaypostError('CHUNK_CORRUPT') }, 0.5)).toBe(86_400_000);
});

test('where an operator has to act, the interval is kept', () => {
  expect(after('SCHEMA_MISMATCH', 9)).toBe(INTERVAL);
});

test('the longest interval and its jitter still fit a timer', () => {
  expect(nextDelayMs({ intervalMs: 24 * 86_400_000, consecutiveFailures: 0, error: undefined }, 1)).toBe(2 ** 31 - 1);
});
