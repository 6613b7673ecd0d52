import 'reflect-metadata';
import { armFaults, createLogger, stopOnSignals } from '@waypost/runtime';
import { type Config, readCentralConfig } from './config.js';
import { createCentralApp } from './http-app.js';

const logger = createLogger('central-api', process.env['LOG_LEVEL'] || 'info');

async function start(config: Config): Promise<void> {
  armFaults(process.env, logger);
  const app = await createCentralApp(config, logger);
  stopOnSignals(app, logger);
  await app.listen(config.PORT, config.HOST);
  logger.info({ url: await app.getUrl(), plan: config.SYNC_PLAN }, 'central-api is ready');
}

try {
  await start(readCentralConfig());
} catch (err) {
  logger.fatal({ err }, 'central-api cannot start');
  process.exitCode = 1;
  // Pools may hold the process; there is nothing left to wait for.
  setImmediate(() => process.exit());
}
