import { type Attributes, context, isSpanContextValid, propagation, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { WaypostError } from '@waypost/contracts';
import { sqlStateOf } from '../errors/sql-state.js';
import { attributesOf, currentWork } from './work-context.js';

export { SpanKind };

/** Does nothing until start-tracing.ts has registered an SDK. */
const tracer = trace.getTracer('waypost');

interface SpanOptions {
  attributes?: Attributes;
  kind?: SpanKind;
  /** Begins a trace where none is under way; else what is part of nothing leaves no span, such as housekeeping. */
  root?: boolean;
}

/** Runs work in a span, with the ids of what it is part of; a failure is noted with its code. Costs a call where tracing is off. */
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

/** A span that is ended by endSpan; a child of the active one. */
export function startSpan(name: string, { attributes = {}, kind = SpanKind.INTERNAL }: SpanOptions, parent = context.active()): Span {
  const work = currentWork();
  const span = tracer.startSpan(
    name,
    { kind, attributes: { ...attributesOf(work?.ids ?? {}), ...attributes }, ...(work ? { startTime: work.now() } : {}) },
    parent,
  );
  if (span.isRecording()) work?.begin(span);
  return span;
}

export function endSpan(span: Span): void {
  if (!span.isRecording()) return;
  const work = currentWork();
  if (work) work.end(span);
  else span.end();
}

/** Only the code: messages of databases may quote values. */
export function markFailed(span: Span, code: string): void {
  span.setAttribute('error.type', code).setStatus({ code: SpanStatusCode.ERROR, message: code });
}

/** More about the span under way, if there is one. */
export function describeSpan(attributes: Attributes): void {
  trace.getActiveSpan()?.setAttributes(attributes);
}

/** The span under way failed, though nothing is thrown. */
export function failSpan(code: string): void {
  const span = trace.getActiveSpan();
  if (span) markFailed(span, code);
}

/** The statement that a span is about, as it was sent: with placeholders, never with values. */
export function statementOf(query: string): Attributes {
  return { 'db.system.name': 'postgresql', 'db.query.text': query };
}

/** Headers by which whoever is asked continues this trace (W3C Trace Context); none where tracing is off. */
export function traceHeaders(): Record<string, string> {
  const headers: Record<string, string> = {};
  propagation.inject(context.active(), headers);
  return headers;
}

/** By the names that OpenTelemetry gives them in logs. */
export function currentTraceIds(): { trace_id?: string; span_id?: string } {
  const active = trace.getActiveSpan()?.spanContext();
  return active && isSpanContextValid(active) ? { trace_id: active.traceId, span_id: active.spanId } : {};
}

function errorCodeOf(error: unknown): string {
  if (error instanceof WaypostError) return error.code;
  return sqlStateOf(error) ?? (error instanceof Error ? error.name : 'Error');
}
