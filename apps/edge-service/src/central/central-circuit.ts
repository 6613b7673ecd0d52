import { Inject, Injectable } from '@nestjs/common';
import { type ErrorCode, WaypostError } from '@waypost/contracts';
import { describeSpan, LOGGER } from '@waypost/runtime';
import {
  type CircuitBreakerPolicy,
  CircuitState,
  circuitBreaker,
  ConsecutiveBreaker,
  ExponentialBackoff,
  handleWhen,
  retry,
  type RetryPolicy,
} from 'cockatiel';
import type { Logger } from 'pino';
import { Metrics } from '../metrics/metrics.js';
import { CENTRAL_OPTIONS, type CentralOptions, type CircuitLimits } from './central-options.js';
import { raceAbort } from './race-abort.js';

/** Retried at once: failures of the network, and what central says to retry. */
const RETRIED: ReadonlySet<ErrorCode> = new Set([
  'CENTRAL_UNREACHABLE',
  'TRANSFER_STALLED',
  'CENTRAL_BUSY',
  'CHUNK_CORRUPT',
  'RANGE_INVALID',
]);
/** Central did not answer. With any other error it did, and the breaker stays closed. */
const UNREACHABLE: ReadonlySet<ErrorCode> = new Set(['CENTRAL_UNREACHABLE', 'TRANSFER_STALLED', 'DEADLINE_EXCEEDED']);

const hasCode = (codes: ReadonlySet<ErrorCode>) => (error: unknown) => error instanceof WaypostError && codes.has(error.code);

export type BreakerState = 'closed' | 'open' | 'half-open';
const METRIC: Record<BreakerState, number> = { closed: 0, 'half-open': 1, open: 2 };

/** All requests to central: retried with growing, jittered delays, and refused while the breaker is open. */
@Injectable()
export class CentralCircuit {
  private readonly retries: RetryPolicy;
  private readonly breaker: CircuitBreakerPolicy;
  private readonly limits: CircuitLimits;
  /** On the monotonic clock. */
  private openUntilMs = 0;

  constructor(
    @Inject(CENTRAL_OPTIONS) { circuit: limits }: CentralOptions,
    private readonly metrics: Metrics,
    @Inject(LOGGER) logger: Logger,
  ) {
    this.limits = limits;
    this.retries = retry(handleWhen(hasCode(RETRIED)), {
      maxAttempts: limits.retries,
      backoff: new ExponentialBackoff({ initialDelay: limits.firstDelayMs, maxDelay: limits.maxDelayMs }),
    });
    this.retries.onRetry((event) => {
      const err = 'error' in event ? event.error : undefined;
      describeSpan({ 'waypost.retries': event.attempt });
      logger.info({ err, attempt: event.attempt, retryInMs: Math.round(event.delay) }, 'request to central failed, retrying');
    });
    this.breaker = circuitBreaker(handleWhen(hasCode(UNREACHABLE)), {
      breaker: new ConsecutiveBreaker(limits.failuresToOpen),
      // Always: cockatiel measures by the wall clock, and one that is set back would keep the breaker open for as long. `run` waits instead.
      halfOpenAfter: Number.NEGATIVE_INFINITY,
    });
    this.breaker.onBreak(() => {
      this.openUntilMs = performance.now() + limits.openMs;
    });
    this.breaker.onStateChange(() => {
      this.metrics.breakerState.set(METRIC[this.state]);
      logger.warn({ breaker: this.state }, 'circuit breaker towards central changed');
    });
    this.metrics.breakerState.set(METRIC[this.state]);
  }

  get state(): BreakerState {
    if (this.breaker.state === CircuitState.Closed) return 'closed';
    return this.breaker.state === CircuitState.HalfOpen ? 'half-open' : 'open';
  }

  /** @throws CENTRAL_UNREACHABLE at once while the breaker is open; SHUTTING_DOWN when `signal` fires; else what `work` threw last */
  async run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    if (this.state === 'open' && performance.now() < this.openUntilMs) {
      throw new WaypostError('CENTRAL_UNREACHABLE', {
        detail: 'Central did not answer recently; it is not asked again while the circuit breaker is open.',
        hint: `The next try is allowed ${Math.ceil(this.limits.openMs / 1000)} s after the last failure; the device retries by itself. Check central’s /health.`,
      });
    }
    return raceAbort(
      this.breaker.execute(() => this.retries.execute(work, signal), signal),
      signal,
    );
  }
}
