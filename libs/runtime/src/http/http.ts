import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { type ArgumentsHost, Catch, type DynamicModule, type ExceptionFilter, HttpException, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { type ErrorCode, PROBLEM_TYPE, toProblem, WaypostError } from '@waypost/contracts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Logger as NestLogger } from 'nestjs-pino';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { databaseError } from '../errors/database-errors.js';
import { followRequests, inRequest, loggedUrl, markRequestFailed } from './http-requests.js';
import { LOGGER, quietly } from '../telemetry/logging.js';
import { newId } from '../system/new-id.js';
import { shorten } from '../telemetry/redact.js';
import { sqlStateOf } from '../errors/sql-state.js';

export interface HttpLimits {
  maxBodyBytes: number;
  /** For a request to arrive in full; 0 is Fastify's default, and no limit. */
  requestTimeoutMs: number;
  /** A receiver that takes nothing of an answer for so long is disconnected. */
  stallTimeoutMs: number;
  /** Further ones are closed unanswered; no limit by default. */
  maxConnections?: number;
  /** URLs of requests that get a span where tracing is on; none by default. */
  tracedUrls?: RegExp;
}

/** Headers are one packet or two. */
const HEADERS_TIMEOUT_MS = 20_000;
/** How often Node looks for requests that are late. */
const LATE_CHECK_MS = 5000;

/** Of one part of a path: a schema and a table of 63 bytes each, all of them quotes, percent-encoded. Fastify's default is 100. */
const MAX_PARAMETER_LENGTH = 1024;

/** A Nest application on Fastify with limits, request ids and the service's logger. Not yet listening. */
export async function createHttpApp(
  module: Type | DynamicModule,
  { maxBodyBytes, requestTimeoutMs, stallTimeoutMs, maxConnections, tracedUrls }: HttpLimits,
): Promise<NestFastifyApplication> {
  const adapter = new FastifyAdapter({
    bodyLimit: maxBodyBytes,
    requestTimeout: requestTimeoutMs,
    http: { headersTimeout: Math.min(HEADERS_TIMEOUT_MS, requestTimeoutMs), connectionsCheckingInterval: LATE_CHECK_MS },
    connectionTimeout: 0, // would cut slow downloads; they have a progress watchdog of their own
    keepAliveTimeout: 65_000,
    forceCloseConnections: 'idle',
    genReqId: newId,
    routerOptions: { maxParamLength: MAX_PARAMETER_LENGTH },
    // What fails before there is a route, such as a URL that cannot be decoded.
    clientErrorHandler: answerBrokenRequest,
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) => {
      const problem = toProblem(toWaypostError(error), request.id);
      void reply.status(problem.status).header('content-type', PROBLEM_TYPE).send(problem);
    },
  });
  const app = await NestFactory.create<NestFastifyApplication>(module, adapter, {
    bufferLogs: true,
    autoFlushLogs: false, // a start that fails has one line, by runService, and not Nest's own before it
    abortOnError: false,
    bodyParser: false, // Fastify's own JSON parser says what is wrong, and nothing but JSON is taken
  });
  const server = adapter.getInstance();
  server.removeContentTypeParser('text/plain');
  if (maxConnections !== undefined) server.server.maxConnections = maxConnections;
  disconnectStalled(server, stallTimeoutMs);
  closeWithLastResponse(server);
  app.useLogger(quietly(app.get(NestLogger)));
  app.flushLogs();
  followRequests(server, app.get<Logger>(LOGGER), tracedUrls);
  return app;
}

/** From the first byte of an answer on: before that, somebody waits for us. */
function disconnectStalled(server: FastifyInstance, stallTimeoutMs: number): void {
  server.addHook('onSend', async (_request, reply) => {
    reply.raw.setTimeout(stallTimeoutMs, () => reply.raw.destroy());
  });
}

/** Node closes connections that are idle when a server stops, but keeps those that answer at that moment open for keepAliveTimeout. */
function closeWithLastResponse(server: FastifyInstance): void {
  let isClosing = false;
  server.addHook('preClose', async () => {
    isClosing = true;
  });
  server.addHook('onResponse', async (request) => {
    if (isClosing) request.raw.socket.destroySoon();
  });
}

/** What never became a request, because its headers are broken or late: Node hands over the bare connection. */
function answerBrokenRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const problem = toProblem(new WaypostError(BROKEN_REQUESTS[error.code ?? ''] ?? 'REQUEST_INVALID', { detail: error.message }));
  const body = JSON.stringify(problem);
  const head = `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n`;
  if (socket.writable) socket.write(head + body);
  socket.destroySoon();
}

const BROKEN_REQUESTS: Record<string, ErrorCode> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
  HPE_HEADER_OVERFLOW: 'REQUEST_TOO_LARGE',
};

/** Of a refusal that repeats parts of the request. */
const MAX_DETAIL_CHARS = 2048;

/** In JSON.stringify's output: what neither PostgreSQL's text nor canonical JSON can hold. */
const UNSTORABLE = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/;

/**
 * Validates what came over HTTP.
 * @throws WaypostError REQUEST_INVALID that names each wrong field
 */
export function parseMessage<Schema extends z.ZodType>(schema: Schema, body: unknown): z.infer<Schema> {
  const parsed = schema.safeParse(body);
  // Of what the schema knows: members that it drops may be nested deeper than JSON.stringify can go.
  if (parsed.success && !UNSTORABLE.test(JSON.stringify(parsed.data))) return parsed.data;
  if (parsed.success) throw new WaypostError('REQUEST_INVALID', { detail: 'A text holds a NUL character or half of a surrogate pair.' });
  const faults = parsed.error.issues.slice(0, 10).map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`);
  throw new WaypostError('REQUEST_INVALID', { detail: shorten(faults.join('; '), MAX_DETAIL_CHARS) });
}

/** Fastify's and Node's own error codes, as ours. */
const FRAMEWORK_ERRORS: Record<string, ErrorCode> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'REQUEST_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'MEDIA_TYPE_UNSUPPORTED',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'REQUEST_INVALID',
  ENOSPC: 'STORAGE_FAILED',
  EACCES: 'STORAGE_FAILED',
  EROFS: 'STORAGE_FAILED',
  EIO: 'STORAGE_FAILED',
};
/** Any error as one of ours. */
export function toWaypostError(error: unknown): WaypostError {
  if (error instanceof WaypostError) return error;
  const code = sqlStateOf(error) ?? '';
  const known = FRAMEWORK_ERRORS[code];
  if (known) return new WaypostError(known, { detail: (error as Error).message, cause: error });
  const fault = databaseError(error);
  if (fault) return fault;
  const status = error instanceof HttpException ? error.getStatus() : (error as { statusCode?: number } | null)?.statusCode;
  if (status === undefined || status < 400 || status >= 500) return new WaypostError('INTERNAL', { cause: error });
  if (status === 413) return new WaypostError('REQUEST_TOO_LARGE', { cause: error });
  // Messages of Nest and Fastify repeat what they refuse, such as the URL.
  const detail = shorten((error as Error).message, MAX_DETAIL_CHARS);
  if (status === 404) return new WaypostError('ROUTE_UNKNOWN', { detail });
  if (status === 415) return new WaypostError('MEDIA_TYPE_UNSUPPORTED', { detail });
  return new WaypostError(/\bJSON\b/.test(detail) ? 'REQUEST_NOT_JSON' : 'REQUEST_INVALID', { detail });
}

/** Devices spread out by themselves; this is for other clients. */
const RETRY_AFTER_S = 5;

/** Answers every error as a problem document (RFC 9457) and logs it once. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(private readonly logger: Logger) {}

  async catch(thrown: unknown, host: ArgumentsHost): Promise<void> {
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    const request = host.switchToHttp().getRequest<FastifyRequest>();
    await inRequest(request, () => this.answer(thrown, request, reply));
  }

  /** Called before an error is answered: the place for audits. */
  protected refused(_request: FastifyRequest, _error: WaypostError): Promise<void> {
    return Promise.resolve();
  }

  private async answer(thrown: unknown, request: FastifyRequest, reply: FastifyReply): Promise<void> {
    if (isHealthReport(thrown)) {
      await reply.status(thrown.getStatus()).send(thrown.getResponse());
      return;
    }
    if (isClientGone(thrown, request)) {
      markRequestFailed(request, 'CLIENT_GONE');
      reply.raw.destroy();
      return;
    }
    const error = toWaypostError(thrown);
    markRequestFailed(request, error.code);
    const facts = { method: request.method, url: loggedUrl(request) };
    if (error.status >= 500) this.logger.error({ err: error, ...facts }, 'request failed');
    else this.logger.warn({ err: withoutStack(error), ...facts }, 'request refused');
    await this.refused(request, error).catch((cause: unknown) => {
      this.logger.error({ err: cause }, 'the refusal could not be audited');
    });
    if (reply.sent || reply.raw.headersSent) {
      // Headers are out: only breaking the connection tells the client that the body is not whole.
      reply.raw.destroy();
      return;
    }
    if (error.code === 'CENTRAL_BUSY') reply.header('retry-after', RETRY_AFTER_S);
    await reply.status(error.status).header('content-type', PROBLEM_TYPE).send(toProblem(error, request.id));
  }
}

/** A refusal is the caller's matter: where in this code it was made says nothing. */
function withoutStack({ name, code, heals, message, hint }: WaypostError): object {
  return { type: name, message, code, heals, hint };
}

const BROKEN_STREAM = /^(ABORT_ERR|ERR_STREAM_PREMATURE_CLOSE|ECONNRESET|EPIPE)$/;

/** Whether a stream broke because its receiver did: nobody waits for an answer, and nothing failed here. */
function isClientGone(thrown: unknown, request: FastifyRequest): boolean {
  const isBrokenStream = BROKEN_STREAM.test(sqlStateOf(thrown) ?? '') || (thrown as Error | null)?.name === 'AbortError';
  return isBrokenStream && !(thrown instanceof WaypostError) && request.raw.socket.destroyed;
}

/** Terminus answers an unhealthy state by throwing its report. */
function isHealthReport(thrown: unknown): thrown is HttpException {
  if (!(thrown instanceof HttpException) || thrown.getStatus() !== 503) return false;
  const body = thrown.getResponse();
  return typeof body === 'object' && 'status' in body && 'details' in body;
}
