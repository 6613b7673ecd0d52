import type { IncomingMessage } from 'node:http';
import { WaypostError } from '@waypost/contracts';
import type { Params } from 'nestjs-pino';
import pino, { type Logger } from 'pino';

/** Injection token of the service's root logger; take a child with the ids of what you work on. */
export const LOGGER = Symbol('logger');

/** What must never be logged, wherever an object holds it. */
const SECRETS = ['authorization', 'password', 'token', 'secret', 'DATABASE_URL', 'connectionString'].flatMap((name) => [name, `*.${name}`]);

/** JSON lines on standard output: one line per fact. */
export function createLogger(service: string, level: string): Logger {
  return pino({
    level,
    base: { service },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: SECRETS, censor: '[redacted]' },
    serializers: { err: serializeError },
  });
}

/** An error with its code and hint; its causes are folded into message and stack. */
function serializeError(error: Error): object {
  const known = error instanceof WaypostError ? { code: error.code, heals: error.heals, hint: error.hint } : {};
  return { ...pino.stdSerializers.err(error), ...known };
}

/** Options of nestjs-pino: one line per request, but for probes and scrapes. */
export function httpLogging(logger: Logger): Params {
  const quiet = /^\/(health|healthz|metrics)\b/;
  return {
    pinoHttp: {
      logger,
      genReqId: (request: IncomingMessage) => request.id,
      autoLogging: { ignore: (request: IncomingMessage) => quiet.test(request.url ?? '') },
      customLogLevel: (_request, response, error) =>
        error || response.statusCode >= 500 ? 'error' : response.statusCode >= 400 ? 'warn' : 'info',
      serializers: {
        req: (request: { id: unknown; method: string; url: string }) => ({ id: request.id, method: request.method, url: request.url }),
        res: (response: { statusCode: number }) => ({ statusCode: response.statusCode }),
      },
      wrapSerializers: true,
    },
  };
}
