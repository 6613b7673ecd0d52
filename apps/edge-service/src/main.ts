import { listen, runService } from '@waypost/runtime/service';
import { readEdgeConfig } from './config.js';
import { Database } from './database/database.js';
import { createEdgeApp } from './http-app.js';

await runService('edge-service', readEdgeConfig, async (config, logger, closeOnSignals) => {
  const app = await createEdgeApp(config, logger);
  closeOnSignals(app);
  const url = await listen(app, config.PORT, config.HOST);
  const facts = { url, mac: config.DEVICE_MAC, central: config.CENTRAL_URL, intervalMs: config.SYNC_INTERVAL };
  logger.info(facts, 'edge-service is listening');
  if (await app.get(Database).opened()) logger.info(facts, 'edge-service is ready');
});
