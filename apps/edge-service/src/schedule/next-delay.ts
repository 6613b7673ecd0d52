import { type ErrorCode, type WaypostError } from '@waypost/contracts';
import { MAX_TIMER_MS } from '@waypost/runtime';

/** Of the interval, either way: devices that were switched on together spread out. */
const JITTER = 0.1;
const FIRST_RETRY_MS = 5000;
const MAX_BACKOFF_MS = 3_600_000;
/** Failures after which everything would be downloaded or loaded again, most likely for nothing. */
const COSTLY: ReadonlySet<ErrorCode> = new Set(['VERIFICATION_FAILED', 'CHUNK_CORRUPT']);

export interface DelayFacts {
  intervalMs: number;
  consecutiveFailures: number;
  error: WaypostError | undefined;
}

/**
 * How long to wait after a cycle: the interval; after a failure that passes, less, but growing up to the interval; after one that comes
 * back costly, more, doubling up to an hour; where an operator has to act, the interval. Never more than a timer takes.
 * @param random in [0, 1)
 */
export function nextDelayMs({ intervalMs, consecutiveFailures, error }: DelayFacts, random: number): number {
  const delayMs = baseDelayMs(intervalMs, consecutiveFailures, error) * (1 + JITTER * (2 * random - 1));
  return Math.min(MAX_TIMER_MS, Math.round(delayMs));
}

function baseDelayMs(intervalMs: number, failures: number, error: WaypostError | undefined): number {
  if (!error || failures === 0) return intervalMs;
  const doubling = 2 ** Math.min(failures - 1, 20);
  if (COSTLY.has(error.code)) return Math.max(intervalMs, Math.min(intervalMs * doubling, MAX_BACKOFF_MS));
  if (error.heals === 'operator' || error.heals === 'bug') return intervalMs;
  return Math.min(intervalMs, FIRST_RETRY_MS * doubling);
}
