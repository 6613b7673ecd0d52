import { STATUS_CODES } from 'node:http';
import type { ServerOptions as HttpsOptions } from 'node:https';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { DynamicModule, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { type ErrorCode, PROBLEM_TYPE, toProblem, WaypostError } from '@waypost/contracts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Logger as NestLogger } from 'nestjs-pino';
import type { Logger } from 'pino';
import { toWaypostError } from '../errors/to-waypost-error.js';
import { newId } from '../system/new-id.js';
import { LOGGER, demoteLogs } from '../telemetry/logging.js';
import { readKeyPair, type TlsFiles } from '../tls/key-pair.js';
import { TLS_POLICY } from '../tls/tls-policy.js';
import { withoutSecrets } from './problem-filter.js';
import { trackRequests } from './request-log.js';
import { trackTransports } from './reset-connection.js';
import { addSecurityHeaders, SECURITY_HEADERS } from './security-headers.js';

export interface HttpLimits {
  maxBodyBytes: number;
  /** For a request to arrive in full; 0 means no limit. */
  requestTimeoutMs: number;
  /** A receiver that takes nothing of an answer for this long is disconnected. */
  stallTimeoutMs: number;
  /** Further connections are closed without an answer; no limit by default. */
  maxConnections?: number;
  /** HTTPS with this certificate, in place of HTTP. CertificateReloader has it replaced later. */
  tls?: TlsFiles | undefined;
  /** Addresses and networks of proxies whose X-Forwarded-For is believed; none by default. */
  trustedProxies?: readonly string[];
  /** Requests with these URLs get a span where tracing is on; none by default. */
  tracedUrls?: RegExp;
}

/** Of a client's text in an error. */
const MAX_NAMED_CHARS = 64;
/** Headers fit one or two packets. */
const HEADERS_TIMEOUT_MS = 20_000;
/** How often Node checks for requests that are late. */
const LATE_CHECK_MS = 5000;

/** Longest part of a path: a schema and a table of 63 bytes each, all of them quotes, percent-encoded. Fastify's default is 100. */
const MAX_PARAMETER_LENGTH = 1024;

/**
 * A Nest application on Fastify with limits, request ids and the service's logger. Not yet listening.
 * @throws WaypostError CONFIG_INVALID where the certificate or its key cannot be served
 */
export async function createHttpApp(
  module: Type | DynamicModule,
  { maxBodyBytes, requestTimeoutMs, stallTimeoutMs, maxConnections, tls, trustedProxies = [], tracedUrls }: HttpLimits,
): Promise<NestFastifyApplication> {
  const timers = { headersTimeout: Math.min(HEADERS_TIMEOUT_MS, requestTimeoutMs), connectionsCheckingInterval: LATE_CHECK_MS };
  const adapter = new FastifyAdapter({
    bodyLimit: maxBodyBytes,
    requestTimeout: requestTimeoutMs,
    ...(tls ? { https: { ...timers, ...(await secureServer(tls)) } } : { http: timers }),
    connectionTimeout: 0, // would cut slow downloads, which have a stall timeout of their own
    keepAliveTimeout: 65_000,
    forceCloseConnections: 'idle',
    genReqId: () => newId(),
    ...(trustedProxies.length > 0 ? { trustProxy: [...trustedProxies] } : {}),
    routerOptions: { maxParamLength: MAX_PARAMETER_LENGTH },
    clientErrorHandler: answerBrokenRequest,
    // Failures before there is a route, such as a URL that cannot be decoded.
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) => {
      const problem = withoutSecrets(toProblem(toWaypostError(error), request.id));
      void reply
        .status(problem.status)
        .headers({ ...SECURITY_HEADERS, 'content-type': PROBLEM_TYPE })
        .send(problem);
    },
  });
  const app = await NestFactory.create<NestFastifyApplication>(module, adapter, {
    bufferLogs: true,
    autoFlushLogs: false, // a failed start is logged once, by runService
    abortOnError: false,
    bodyParser: false, // Fastify's own JSON parser says what is wrong, and only JSON is accepted
  });
  const server = adapter.getInstance();
  server.removeContentTypeParser('text/plain');
  server.addHook('preParsing', refuseEncodedBody);
  if (maxConnections !== undefined) server.server.maxConnections = maxConnections;
  addSecurityHeaders(server, { speaksTls: tls !== undefined });
  if (tls) trackTransports(server.server);
  disconnectStalled(server, stallTimeoutMs);
  closeWithLastResponse(server);
  app.useLogger(demoteLogs(app.get(NestLogger)));
  app.flushLogs();
  trackRequests(server, app.get<Logger>(LOGGER), tracedUrls);
  return app;
}

async function secureServer(files: TlsFiles): Promise<HttpsOptions> {
  const { cert, key } = await readKeyPair(files);
  const clients = files.asksForCertificates ? { requestCert: true, rejectUnauthorized: false } : {};
  return { cert, key, ...TLS_POLICY, ...clients, handshakeTimeout: HEADERS_TIMEOUT_MS };
}

/** A compressed body would be called malformed JSON. */
async function refuseEncodedBody({ headers }: FastifyRequest): Promise<void> {
  const encoding = headers['content-encoding'];
  if (encoding === undefined || encoding.toLowerCase() === 'identity') return;
  const hint = 'Send the body without Content-Encoding.';
  throw new WaypostError('MEDIA_TYPE_UNSUPPORTED', {
    detail: `A body with Content-Encoding ${encoding.slice(0, MAX_NAMED_CHARS)} is not supported.`,
    hint,
  });
}

/** Disconnects a receiver that stalls, from the first byte of the answer on. Before that, the client waits for us. */
function disconnectStalled(server: FastifyInstance, stallTimeoutMs: number): void {
  server.addHook('onSend', async (_request, reply) => {
    reply.raw.setTimeout(stallTimeoutMs, () => reply.raw.destroy());
  });
}

/** Closes connections that still answer when the server stops. Node closes only idle ones, and keeps these open for keepAliveTimeout. */
function closeWithLastResponse(server: FastifyInstance): void {
  let isClosing = false;
  server.addHook('preClose', async () => {
    isClosing = true;
  });
  server.addHook('onResponse', async (request) => {
    if (isClosing) request.raw.socket.destroySoon();
  });
}

/** Answers headers that are broken or late. There is no request yet: Node passes the bare connection. */
function answerBrokenRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  // No TLS connection came about, so that nothing can be said on it.
  if (socket instanceof TLSSocket && !socket.getCipher()) return void socket.destroy();
  const problem = toProblem(new WaypostError(BROKEN_REQUESTS[error.code ?? ''] ?? 'REQUEST_INVALID', { detail: error.message }));
  const body = JSON.stringify(problem);
  const head = `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${BARE_HEADERS}connection: close\r\n\r\n`;
  if (socket.writable) socket.write(head + body);
  socket.destroySoon();
}

const BARE_HEADERS = Object.entries(SECURITY_HEADERS)
  .map(([name, value]) => `${name}: ${value}\r\n`)
  .join('');

const BROKEN_REQUESTS: Record<string, ErrorCode> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
  HPE_HEADER_OVERFLOW: 'REQUEST_TOO_LARGE',
};
