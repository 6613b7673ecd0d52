import type { INestApplicationContext } from '@nestjs/common';
import type { Telemetry } from '../telemetry/telemetry.js';

/** Docker kills after 10 s. PostgreSQL rolls back what still hangs then. */
const EXIT_AFTER_MS = 9000;
/**
 * A signal to the whole process group (systemd, Ctrl-C in a terminal) arrives twice where npm or a shell runs the service and forwards its
 * own. Within this time both count as one.
 */
const SAME_SIGNAL_MS = 1000;

/**
 * Stops the service in order at SIGTERM or SIGINT, within 9 s and with exit status 0. Another signal ends it at once, with status 1, unless it
 * comes within a second of the first.
 * Call it before the service starts its work: process 1 of a container gets no signal without a handler.
 * @param started the service, or undefined while it starts: PostgreSQL rolls back what it has begun by then
 */
export function stopOnSignals(started: () => INestApplicationContext | undefined, { logger, close }: Telemetry): void {
  const meaningOf = signalMeaning();
  const stop = (signal: NodeJS.Signals): void => {
    const meaning = meaningOf();
    if (meaning === 'end now') process.exit(1);
    if (meaning === 'same signal') return;
    logger.info({ signal }, 'stopping');
    setTimeout(() => process.exit(0), EXIT_AFTER_MS).unref();
    void Promise.resolve(started()?.close())
      .catch((err: unknown) => logger.error({ err }, 'shutdown failed'))
      .then(close)
      .finally(() => process.exit(0));
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

/**
 * Tells what each signal means.
 * @param now a monotonic clock, in milliseconds
 */
export function signalMeaning(now = (): number => performance.now()): () => 'stop' | 'same signal' | 'end now' {
  let firstAt: number | undefined;
  return () => {
    if (firstAt !== undefined) return now() - firstAt < SAME_SIGNAL_MS ? 'same signal' : 'end now';
    firstAt = now();
    return 'stop';
  };
}
