import type { INestApplicationContext } from '@nestjs/common';
import type { Logger } from 'pino';
import { armFaults } from './fault-points.js';
import { toWaypostError } from '../errors/to-waypost-error.js';
import { createLogger } from '../telemetry/logging.js';
import { stopOnSignals } from './shutdown.js';
import { startTelemetry, type Telemetry } from '../telemetry/telemetry.js';
import type { TelemetryConfig } from '../telemetry/telemetry-config.js';

/**
 * A service's process from its first line in the log to its last: configuration, logs and traces, then the service itself until a signal
 * stops it. One that cannot start says why and ends with exit code 1.
 * @param start brings the service up; it hands the service over as soon as there is something to close; a signal before that ends the process at once
 */
export async function runService<Config extends TelemetryConfig>(
  name: string,
  readConfig: (env: NodeJS.ProcessEnv) => Config,
  start: (config: Config, logger: Logger, closeOnSignals: (app: INestApplicationContext) => void) => Promise<void>,
): Promise<void> {
  let telemetry: Telemetry | undefined;
  try {
    const config = readConfig(process.env);
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
    // Pools may hold the process; there is nothing left to wait for.
    process.exit(1);
  }
}
