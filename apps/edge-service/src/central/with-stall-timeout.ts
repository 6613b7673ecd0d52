import type { Readable } from 'node:stream';
import { WaypostError } from '@waypost/contracts';
import { networkError } from './central-errors.js';

/** Less than this within the timeout counts as nothing: a transfer that is too slow must not hold a cycle for ever. */
const PROGRESS_BYTES = 4096;

export interface StallOptions {
  /** A body that receives (nearly) nothing for so long is aborted. */
  stallMs: number;
  /** When it is aborted in any case, of performance.now(). */
  endsAtMs: number;
}

/**
 * Reads a body under watch. For `stallMs` only the time spent waiting for the network counts: however slow the consumer is, it never looks
 * like a stall.
 * @throws WaypostError TRANSFER_STALLED, DEADLINE_EXCEEDED, CENTRAL_UNREACHABLE
 */
export async function* withStallTimeout(body: Readable, { stallMs, endsAtMs }: StallOptions): AsyncGenerator<Buffer, void> {
  const reader = (body as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  let waitedMs = 0;
  let received = 0;
  try {
    for (;;) {
      const startedAt = performance.now();
      const next = await before(reader, { stallMs: stallMs - waitedMs, endsAtMs });
      if (next.done) return;
      received += next.value.length;
      waitedMs += performance.now() - startedAt;
      if (received >= PROGRESS_BYTES) {
        waitedMs = 0;
        received = 0;
      }
      yield next.value;
    }
  } catch (error) {
    throw networkError(error);
  } finally {
    body.on('error', ignoreLateError).destroy();
  }
}

/** @throws WaypostError DEADLINE_EXCEEDED */
export function assertBefore(endsAtMs: number): void {
  if (performance.now() >= endsAtMs) {
    throw new WaypostError('DEADLINE_EXCEEDED', { detail: 'The downloads of this cycle were not done within DOWNLOAD_DEADLINE.' });
  }
}

async function before(reader: AsyncIterator<Buffer>, { stallMs, endsAtMs }: StallOptions): Promise<IteratorResult<Buffer, unknown>> {
  assertBefore(endsAtMs);
  const { promise, reject } = Promise.withResolvers<never>();
  const stalled = (): void => {
    try {
      assertBefore(endsAtMs);
      reject(new WaypostError('TRANSFER_STALLED', { detail: 'A chunk stream brought no bytes within STALL_TIMEOUT.' }));
    } catch (error) {
      reject(error);
    }
  };
  const timer = setTimeout(stalled, Math.max(0, Math.min(stallMs, endsAtMs - performance.now() + 1)));
  const next = reader.next();
  next.catch(() => undefined);
  try {
    return await Promise.race([next, promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** A body that is abandoned may still report that its connection broke. */
function ignoreLateError(): void {}
