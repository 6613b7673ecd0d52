import type { LoggerService } from '@nestjs/common';
import type { Logger as NestLogger, Params } from 'nestjs-pino';
import pino, { type DestinationStream, type Logger } from 'pino';
import { redactLine } from './redact.js';
import { serializeError } from '../errors/serialize-error.js';
import { currentTraceIds } from './tracing.js';
import { currentWork } from './work-context.js';

/** Injection token of the service's root logger. Ids of the work under way are added to each line by themselves. */
export const LOGGER = Symbol('logger');

/** Takes finished lines, each a JSON object and a line feed. Must never throw, and never wait. */
export interface LineSink {
  write(line: string): void;
}

/**
 * JSON lines on standard output, one per fact, with the ids of request, cycle, manifest, device and trace under way, and without secrets.
 * @param sinks get the same lines; one that is added later gets those from then on
 */
export function createLogger(service: string, level: string, sinks: readonly LineSink[] = []): Logger {
  const stdout = pino.destination({ fd: 1, sync: true });
  const destination: DestinationStream = {
    write: (line) => {
      stdout.write(line);
      for (const sink of sinks) sink.write(line);
    },
  };
  return pino(
    {
      level,
      base: { service },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      mixin: () => ({ ...currentWork()?.ids, ...currentTraceIds() }),
      hooks: { streamWrite: redactLine },
      serializers: { err: serializeError },
    },
    destination,
  );
}

/** Options of nestjs-pino. Requests are logged by http.ts. */
export function httpLogging(logger: Logger): Params {
  return { pinoHttp: { logger, autoLogging: false, quietReqLogger: true } };
}

/** Nest logs what a start throws, and throws it on to runService, which logs it as ours. */
const RETHROWN_BY: readonly unknown[] = ['ExceptionHandler', 'NestApplication'];

/** Nest's account of its own start, module by module and route by route, is for those who debug it. */
export function quietly(logger: NestLogger): LoggerService {
  return {
    log: (message, ...more) => logger.debug(message, ...(more as unknown[])),
    debug: (message, ...more) => logger.debug(message, ...(more as unknown[])),
    verbose: (message, ...more) => logger.verbose(message, ...(more as unknown[])),
    warn: (message, ...more) => logger.warn(message, ...(more as unknown[])),
    error: (message, ...more) => {
      if (RETHROWN_BY.includes(more.at(-1))) logger.debug(message, ...(more as unknown[]));
      else logger.error(message, ...(more as unknown[]));
    },
    fatal: (message, ...more) => logger.fatal(message, ...(more as unknown[])),
  };
}
