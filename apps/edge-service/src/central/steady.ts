import type { Readable } from 'node:stream';
import { WaypostError } from '@waypost/contracts';
import { networkError } from './central-errors.js';

/** Less than this within the timeout counts as nothing: a trickle must not hold a cycle forever. */
const PROGRESS_BYTES = 4096;

/**
 * Reads a body, and breaks it off when it brings (nearly) nothing for `stallMs`. Only the time spent waiting for the network counts:
 * however slow the consumer is, it never looks like a stall.
 * @throws WaypostError TRANSFER_STALLED, CENTRAL_UNREACHABLE
 */
export async function* steady(body: Readable, stallMs: number): AsyncGenerator<Buffer, void> {
  const reader = (body as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  let waitedMs = 0;
  let received = 0;
  try {
    for (;;) {
      const startedAt = performance.now();
      const next = await beforeStall(reader, stallMs - waitedMs);
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

async function beforeStall(reader: AsyncIterator<Buffer>, stallMs: number): Promise<IteratorResult<Buffer, unknown>> {
  const { promise, reject } = Promise.withResolvers<never>();
  const stalled = (): void =>
    reject(new WaypostError('TRANSFER_STALLED', { detail: 'A chunk stream brought no bytes within STALL_TIMEOUT.' }));
  const timer = setTimeout(stalled, Math.max(0, stallMs));
  const next = reader.next();
  next.catch(() => undefined);
  try {
    return await Promise.race([next, promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** A body that is given up may still report that its connection broke. */
function ignoreLateError(): void {}
