import { type Attributes, context, isSpanContextValid, propagation, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { WaypostError } from '@waypost/contracts';
import { sqlStateOf } from '../errors/sql-state.js';
import { attributesOf, currentContext } from './request-context.js';

export { SpanKind };

/** Does nothing until start-tracing.ts has registered an SDK. */
const tracer = trace.getTracer('waypost');

interface SpanOptions {
  attributes?: Attributes;
  kind?: SpanKind;
  /** Starts a trace where there is no active span. Without it, work outside a trace (housekeeping) leaves no span. */
  root?: boolean;
}

/** Runs `work` in a span that carries the context's ids; a failure is recorded with its code. Costs one call where tracing is off. */
export async function traced<T>(name: string, options: SpanOptions, work: () => Promise<T>): Promise<T> {
  if (!options.root && trace.getActiveSpan() === undefined) return work();
  const span = startSpan(name, options);
  if (!isSpanContextValid(span.spanContext())) return work();
  try {
    return await context.with(trace.setSpan(context.active(), span), work);
  } catch (error) {
    markFailed(span, errorCodeOf(error));
    throw error;
  } finally {
    endSpan(span);
  }
}

/** Starts a child of the active span. End it with endSpan. */
export function startSpan(name: string, { attributes = {}, kind = SpanKind.INTERNAL }: SpanOptions, parent = context.active()): Span {
  const own = currentContext();
  const span = tracer.startSpan(
    name,
    { kind, attributes: { ...attributesOf(own?.ids ?? {}), ...attributes }, ...(own ? { startTime: own.now() } : {}) },
    parent,
  );
  if (span.isRecording()) own?.begin(span);
  return span;
}

export function endSpan(span: Span): void {
  if (!span.isRecording()) return;
  const own = currentContext();
  if (own) own.end(span);
  else span.end();
}

/** Records the code only: messages of databases may quote values. */
export function markFailed(span: Span, code: string): void {
  span.setAttribute('error.type', code).setStatus({ code: SpanStatusCode.ERROR, message: code });
}

/** Adds attributes to the active span, if there is one. */
export function describeSpan(attributes: Attributes): void {
  trace.getActiveSpan()?.setAttributes(attributes);
}

/** Marks the active span as failed where nothing is thrown. */
export function failSpan(code: string): void {
  const span = trace.getActiveSpan();
  if (span) markFailed(span, code);
}

/** The statement that a span runs, as it is sent: with placeholders, never with values. */
export function statementOf(query: string): Attributes {
  return { 'db.system.name': 'postgresql', 'db.query.text': query };
}

/** Headers by which the receiver of a request continues this trace (W3C Trace Context); none where tracing is off. */
export function traceHeaders(): Record<string, string> {
  const headers: Record<string, string> = {};
  propagation.inject(context.active(), headers);
  return headers;
}

/** Under OpenTelemetry's names for log fields. */
export function currentTraceIds(): { trace_id?: string; span_id?: string } {
  const active = trace.getActiveSpan()?.spanContext();
  return active && isSpanContextValid(active) ? { trace_id: active.traceId, span_id: active.spanId } : {};
}

function errorCodeOf(error: unknown): string {
  if (error instanceof WaypostError) return error.code;
  return sqlStateOf(error) ?? (error instanceof Error ? error.name : 'Error');
}
