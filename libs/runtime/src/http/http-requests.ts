import { type Context, context, propagation, ROOT_CONTEXT, type Span, trace } from '@opentelemetry/api';
import { CYCLE_ID_HEADER, REQUEST_ID_HEADER, ulidSchema } from '@waypost/contracts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { shorten } from '../errors/shorten.js';
import { redactText } from '../telemetry/redact.js';
import { endSpan, markFailed, SpanKind, startSpan } from '../telemetry/tracing.js';
import { enterWork, Work } from '../telemetry/work-context.js';

/** Probes and scrapes come every few seconds, and say nothing. */
const QUIET = /^\/(health|healthz|metrics)\b/;
/** Node takes 16 KiB of headers: a stranger's URL is not to fill the log. */
const MAX_URL_CHARS = 2048;

interface Followed {
  work: Work;
  span: Span | undefined;
  context: Context;
}

const FOLLOWED = new WeakMap<FastifyRequest, Followed>();

/**
 * Gives each request its ids, for all log lines and spans that come of it, and a line of its own when it is answered or broken off. The answer
 * carries the request's id (`waypost-request-id`); a device names its cycle in `waypost-cycle-id`.
 * @param traced what gets a span, by its URL: a child of the caller's where a well-formed `traceparent` names one
 */
export function followRequests(server: FastifyInstance, logger: Logger, traced: RegExp | undefined): void {
  server.addHook('onRequest', (request, reply, done) => {
    const named = request.headers[CYCLE_ID_HEADER];
    const cycleId = named === undefined ? undefined : ulidSchema.safeParse(named).data;
    const work = new Work({ requestId: request.id, ...(cycleId === undefined ? {} : { cycleId }) });
    const followed = enterWork(work, () => ({ work, ...startedSpan(request, traced) }));
    FOLLOWED.set(request, followed);
    void reply.header(REQUEST_ID_HEADER, request.id);
    reply.raw.once('close', () => {
      enterWork(work, () => finish(followed, request, reply, logger));
    });
    inRequest(request, done);
  });
  // The body has come meanwhile, by events that know nothing of the request.
  server.addHook('preValidation', (request, _reply, done) => inRequest(request, done));
}

/** Runs what belongs to a request under its ids and in its span. */
export function inRequest<T>(request: FastifyRequest, work: () => T): T {
  const followed = FOLLOWED.get(request);
  return followed ? enterWork(followed.work, () => context.with(followed.context, work)) : work();
}

/** Notes why a request failed. */
export function markRequestFailed(request: FastifyRequest, code: string): void {
  const span = FOLLOWED.get(request)?.span;
  if (span) markFailed(span, code);
}

/** The request's URL as a line of the log shows it: without secrets, and bounded. */
export function loggedUrl({ url }: FastifyRequest): string {
  return shorten(redactText(url), MAX_URL_CHARS);
}

function startedSpan(request: FastifyRequest, traced: RegExp | undefined): Omit<Followed, 'work'> {
  const route = request.routeOptions.url;
  if (route === undefined || !traced?.test(request.url)) return { span: undefined, context: context.active() };
  const caller = propagation.extract(ROOT_CONTEXT, request.headers);
  const attributes = { 'http.request.method': request.method, 'http.route': route };
  const span = startSpan(`${request.method} ${route}`, { kind: SpanKind.SERVER, attributes }, caller);
  return { span, context: trace.setSpan(caller, span) };
}

function finish({ span, work }: Followed, request: FastifyRequest, reply: FastifyReply, logger: Logger): void {
  const whole = reply.raw.writableFinished;
  const status = reply.raw.statusCode;
  if (span) {
    span.setAttributes({ 'http.response.status_code': status, 'waypost.broken_off': !whole });
    if (whole && status >= 500) markFailed(span, String(status));
    endSpan(span);
  }
  if (!QUIET.test(request.url)) {
    const facts = { method: request.method, url: loggedUrl(request), status, durationMs: Math.round(reply.elapsedTime) };
    logger.info(facts, whole ? 'request answered' : 'request broken off');
  }
  work.release();
}
