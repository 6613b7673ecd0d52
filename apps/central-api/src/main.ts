import 'reflect-metadata';
import { listen, runService } from '@waypost/runtime/service';
import { readCentralConfig } from './config.js';
import { createCentralApp, listenForOperators } from './http-app.js';

await runService('central-api', readCentralConfig, async (config, logger, closeOnSignals) => {
  const app = await createCentralApp(config, logger);
  closeOnSignals(app);
  const adminUrl = await listenForOperators(app);
  const url = await listen(app, config.PORT, config.HOST);
  logger.info({ url, ...(adminUrl ? { adminUrl } : {}), plan: config.SYNC_PLAN }, 'central-api is ready');
});
