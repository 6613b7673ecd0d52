import { createLogger, toWaypostError } from '@waypost/runtime';
import { type EdgeConfig, readEdgeConfig } from './config.js';
import { createEdgeApp } from './http-app.js';

/** Docker kills after 10 s: whatever still hangs then is left to PostgreSQL's rollback and to the next start. */
const EXIT_AFTER_MS = 9000;
const SERVICE = 'edge-service';

async function main(config: EdgeConfig): Promise<void> {
  const logger = createLogger(SERVICE, config.LOG_LEVEL);
  const app = await createEdgeApp(config, logger);
  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) process.exit(1); // a second signal ends at once
    stopping = true;
    logger.info({ signal }, 'stopping');
    setTimeout(() => process.exit(0), EXIT_AFTER_MS).unref();
    app
      .close()
      .catch((error: unknown) => logger.error({ err: error }, 'stopping went wrong'))
      .finally(() => process.exit(0));
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  await app.listen(config.PORT, config.HOST);
  logger.info(
    { url: await app.getUrl(), mac: config.DEVICE_MAC, central: config.CENTRAL_URL, intervalMs: config.SYNC_INTERVAL },
    'edge-service is ready',
  );
}

try {
  await main(readEdgeConfig(process.env));
} catch (error) {
  createLogger(SERVICE, 'info').fatal({ err: toWaypostError(error) }, 'the service cannot start');
  process.exitCode = 1;
  setImmediate(() => process.exit(1));
}
