import type { INestApplicationContext } from '@nestjs/common';
import type { Telemetry } from './telemetry.js';

/** Docker kills after 10 s: what still hangs then is left to PostgreSQL's rollback and to the next start. */
const EXIT_AFTER_MS = 9000;

/**
 * Ends the service in order at SIGTERM or SIGINT, within 9 s and with exit status 0. A second signal ends it at once.
 * Call it before the service begins its work: as process 1 of a container, a process without a handler never hears these signals.
 * @param started the service, or nothing while it is being made: what it has begun then is PostgreSQL's to roll back
 */
export function stopOnSignals(started: () => INestApplicationContext | undefined, { logger, close }: Telemetry): void {
  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) process.exit(1);
    stopping = true;
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
