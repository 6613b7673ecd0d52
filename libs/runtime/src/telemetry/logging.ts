import type { LoggerService } from '@nestjs/common';
import type { Logger as NestLogger, Params } from 'nestjs-pino';
import pino, { type DestinationStream, type Logger } from 'pino';
import { redactLine } from './redact.js';
import { serializeError } from '../errors/serialize-error.js';
import { currentTraceIds } from './tracing.js';
import { currentContext } from './request-context.js';

/** Injection token of the service's root logger. It adds the current context's ids to each line. */
export const LOGGER = Symbol('logger');

/** Takes finished lines, each a JSON object and a line feed. Must not throw and must not block. */
export interface LineSink {
  write(line: string): void;
}

/**
 * Writes JSON lines to standard output, one per fact, with the ids of the current request, cycle, manifest, device and trace, and without secrets.
 * @param sinks get the same lines; a sink that is added later gets the lines from then on
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
      mixin: () => ({ ...currentContext()?.ids, ...currentTraceIds() }),
      hooks: { streamWrite: redactLine },
      serializers: { err: serializeError },
    },
    destination,
  );
}

/** Options of nestjs-pino. Request lines come from http/request-log.ts. */
export function httpLogging(logger: Logger): Params {
  return { pinoHttp: { logger, autoLogging: false, quietReqLogger: true } };
}

/** Nest logs an error of the start and throws it again; runService logs it as Waypost's. */
const RETHROWN_BY: readonly unknown[] = ['ExceptionHandler', 'NestApplication'];

/** Nest's lines about its own start (modules, routes) go to level debug. */
export function demoteLogs(logger: NestLogger): LoggerService {
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
