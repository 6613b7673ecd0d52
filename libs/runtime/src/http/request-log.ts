import { type Context, context, propagation, ROOT_CONTEXT, type Span, trace } from '@opentelemetry/api';
import { CYCLE_ID_HEADER, REQUEST_ID_HEADER, ulidSchema } from '@waypost/contracts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { shorten } from '../errors/shorten.js';
import { redactText } from '../telemetry/redact.js';
import { endSpan, markFailed, SpanKind, startSpan } from '../telemetry/tracing.js';
import { RequestContext, runInContext } from '../telemetry/request-context.js';

/** Probes and scrapes come every few seconds; a line for each would say nothing. */
const NOT_LOGGED = /^\/(health|healthz|metrics)\b/;
/** One of many: what limits requests counts and reports them. */
const TOO_MANY_REQUESTS = 429;
/** Node takes 16 KiB of headers: long URLs must not fill the log. */
const MAX_URL_CHARS = 2048;

interface TrackedRequest {
  ids: RequestContext;
  span: Span | undefined;
  trace: Context;
}

const TRACKED = new WeakMap<FastifyRequest, TrackedRequest>();

/**
 * Gives each request its ids, which all of its log lines and spans carry, and logs one line when it is answered or aborted. The answer
 * carries the request's id (`waypost-request-id`); a device sends its cycle's id in `waypost-cycle-id`.
 * @param traced requests whose URL matches get a span: a child of the caller's where a well-formed `traceparent` names one
 */
export function trackRequests(server: FastifyInstance, logger: Logger, traced: RegExp | undefined): void {
  server.addHook('onRequest', (request, reply, done) => {
    const named = request.headers[CYCLE_ID_HEADER];
    const cycleId = named === undefined ? undefined : ulidSchema.safeParse(named).data;
    const ids = new RequestContext({ requestId: request.id, ...(cycleId === undefined ? {} : { cycleId }) });
    const tracked = runInContext(ids, () => ({ ids, ...startServerSpan(request, traced) }));
    TRACKED.set(request, tracked);
    void reply.header(REQUEST_ID_HEADER, request.id);
    reply.raw.once('close', () => {
      runInContext(ids, () => finish(tracked, request, reply, logger));
    });
    inRequest(request, done);
  });
  // The events that delivered the body have no context.
  server.addHook('preValidation', (request, _reply, done) => inRequest(request, done));
}

/** Runs `work` with a request's ids and in its span. */
export function inRequest<T>(request: FastifyRequest, work: () => T): T {
  const tracked = TRACKED.get(request);
  return tracked ? runInContext(tracked.ids, () => context.with(tracked.trace, work)) : work();
}

/** Records in the request's span why it failed. */
export function markRequestFailed(request: FastifyRequest, code: string): void {
  const span = TRACKED.get(request)?.span;
  if (span) markFailed(span, code);
}

/** The request's URL for the log: without secrets, and bounded. */
export function loggedUrl({ url }: FastifyRequest): string {
  return shorten(redactText(url), MAX_URL_CHARS);
}

function startServerSpan(request: FastifyRequest, traced: RegExp | undefined): Omit<TrackedRequest, 'ids'> {
  const route = request.routeOptions.url;
  if (route === undefined || !traced?.test(request.url)) return { span: undefined, trace: context.active() };
  const caller = propagation.extract(ROOT_CONTEXT, request.headers);
  const attributes = { 'http.request.method': request.method, 'http.route': route };
  const span = startSpan(`${request.method} ${route}`, { kind: SpanKind.SERVER, attributes }, caller);
  return { span, trace: trace.setSpan(caller, span) };
}

function finish({ ids, span }: TrackedRequest, request: FastifyRequest, reply: FastifyReply, logger: Logger): void {
  const isComplete = reply.raw.writableFinished;
  const status = reply.raw.statusCode;
  if (span) {
    span.setAttributes({ 'http.response.status_code': status, 'waypost.broken_off': !isComplete });
    if (isComplete && status >= 500) markFailed(span, String(status));
    endSpan(span);
  }
  if (!NOT_LOGGED.test(request.url)) {
    const facts = { method: request.method, url: loggedUrl(request), status, durationMs: Math.round(reply.elapsedTime) };
    logger[status === TOO_MANY_REQUESTS ? 'debug' : 'info'](facts, isComplete ? 'request answered' : 'request aborted');
  }
  ids.release();
}
