import { armFaults, createLogger, stopOnSignals, toWaypostError } from '@waypost/runtime';
import { type EdgeConfig, readEdgeConfig } from './config.js';
import { createEdgeApp } from './http-app.js';

const SERVICE = 'edge-service';

async function main(config: EdgeConfig): Promise<void> {
  const logger = createLogger(SERVICE, config.LOG_LEVEL);
  armFaults(process.env, logger);
  const app = await createEdgeApp(config, logger);
  stopOnSignals(app, logger);
  await app.listen(config.PORT, config.HOST);
  logger.info(
    { url: await app.getUrl(), mac: config.DEVICE_MAC, central: config.CENTRAL_URL, intervalMs: config.SYNC_INTERVAL },
    'edge-service is ready',
  );
}

try {
  await main(readEdgeConfig(process.env));
} catch (error) {
  createLogger(SERVICE, 'info').fatal({ err: toWaypostError(error) }, 'edge-service cannot start');
  process.exitCode = 1;
  // Pools may hold the process; there is nothing left to wait for.
  setImmediate(() => process.exit());
}
