import type { INestApplicationContext } from '@nestjs/common';
import type { Logger } from 'pino';
import { armFaults } from './fault-points.js';
import { toWaypostError } from '../errors/to-waypost-error.js';
import { createLogger } from '../telemetry/logging.js';
import { hideSecretsOf } from '../telemetry/redact.js';
import { stopOnSignals } from './shutdown.js';
import { startTelemetry, type Telemetry } from '../telemetry/telemetry.js';
import type { TelemetryConfig } from '../telemetry/telemetry-config.js';

/**
 * Runs a service's process: reads its configuration, starts logs and traces, then the service until a signal stops it. A service that
 * cannot start logs why and exits with status 1.
 * @param start starts the service and calls closeOnSignals as soon as there is something to close; a signal before that ends the process at once
 */
export async function runService<Config extends TelemetryConfig>(
  name: string,
  readConfig: (env: NodeJS.ProcessEnv) => Config,
  start: (config: Config, logger: Logger, closeOnSignals: (app: INestApplicationContext) => void) => Promise<void>,
): Promise<void> {
  let telemetry: Telemetry | undefined;
  try {
    const config = readConfig(process.env);
    hideSecretsOf(config);
    const started = (telemetry = await startTelemetry(name, config));
    armFaults(process.env, started.logger);
    let closable: INestApplicationContext | undefined;
    stopOnSignals(() => closable, started);
    await start(config, started.logger, (app) => {
      closable = app;
    });
  } catch (error) {
    const logger = telemetry?.logger ?? createLogger(name, 'info');
    logger.fatal({ err: toWaypostError(error) }, `${name} cannot start`);
    await telemetry?.close();
    // Open pools would keep the process alive.
    process.exit(1);
  }
}
