import type { INestApplicationContext } from '@nestjs/common';
import type { Telemetry } from '../telemetry/telemetry.js';

/** Docker kills after 10 s: what still hangs then is left to PostgreSQL's rollback and to the next start. */
const EXIT_AFTER_MS = 9000;
/**
 * A signal to the whole process group (systemd, Ctrl-C in a terminal) arrives twice where npm or a shell stands before the service and forwards its
 * own. Within this time both count as one.
 */
const SAME_SIGNAL_MS = 1000;

/**
 * Ends the service in order at SIGTERM or SIGINT, within 9 s and with exit status 0. Another signal ends it at once, with status 1, unless it comes
 * within a second of the first.
 * Call it before the service begins its work: as process 1 of a container, a process without a handler never hears these signals.
 * @param started the service, or nothing while it is being made: what it has begun then is PostgreSQL's to roll back
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
      .catch((err: unknown) => logger.error({ err }, 'stopping went wrong'))
      .then(close)
      .finally(() => process.exit(0));
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

/**
 * Says of each signal that arrives what it means.
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
