import type { Listener } from './listener.js';

interface OtlpValue {
  stringValue?: string;
  intValue?: number;
  doubleValue?: number;
  boolValue?: boolean;
}

interface OtlpSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: OtlpValue }[];
  events?: unknown[];
  status: { code?: number; message?: string };
}

interface OtlpRequest {
  resourceSpans: { resource: { attributes: OtlpSpan['attributes'] }; scopeSpans: { spans: OtlpSpan[] }[] }[];
}

/** A span as a collector got it. */
export interface ReceivedSpan {
  service: string;
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId: string | undefined;
  kind: number;
  startedAt: bigint;
  endedAt: bigint;
  /** 0 unset, 1 ok, 2 error. */
  status: number;
  attributes: Record<string, string | number | boolean | undefined>;
}

/** All spans that a collector was sent, as OTLP in JSON says them. */
export function spansOf({ received }: Listener): ReceivedSpan[] {
  return received
    .filter(({ url }) => url === '/v1/traces')
    .flatMap(({ body }) => (JSON.parse(body) as OtlpRequest).resourceSpans)
    .flatMap(({ resource, scopeSpans }) => {
      const service = String(valuesOf(resource.attributes)['service.name']);
      return scopeSpans.flatMap(({ spans }) => spans.map((span) => toReceived(span, service)));
    });
}

/** The traces as trees of names: each span with its children in the order of their start, the root's status behind failed ones. */
export function treesOf(spans: readonly ReceivedSpan[]): string[] {
  const known = new Set(spans.map(({ spanId }) => spanId));
  const roots = spans.filter(({ parentSpanId }) => parentSpanId === undefined || !known.has(parentSpanId));
  return inOrder(roots).map((root) => lines(root, spans, '').join('\n'));
}

function lines(span: ReceivedSpan, spans: readonly ReceivedSpan[], indent: string): string[] {
  const { attributes } = span;
  const table = attributes['waypost.table'] === undefined ? '' : ` ${attributes['waypost.table']}`;
  const failure = span.status === 2 ? ` !${attributes['error.type']}` : '';
  const children = inOrder(spans.filter(({ parentSpanId }) => parentSpanId === span.spanId));
  return [`${indent}${span.name}${table}${failure}`, ...children.flatMap((child) => lines(child, spans, `${indent}  `))];
}

function inOrder(spans: ReceivedSpan[]): ReceivedSpan[] {
  return spans.sort((a, b) => (a.startedAt < b.startedAt ? -1 : a.startedAt > b.startedAt ? 1 : 0));
}

function toReceived(span: OtlpSpan, service: string): ReceivedSpan {
  return {
    service,
    name: span.name,
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId || undefined,
    kind: span.kind,
    startedAt: BigInt(span.startTimeUnixNano),
    endedAt: BigInt(span.endTimeUnixNano),
    status: span.status.code ?? 0,
    attributes: valuesOf(span.attributes),
  };
}

function valuesOf(attributes: OtlpSpan['attributes']): ReceivedSpan['attributes'] {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue ?? value.doubleValue ?? value.boolValue]),
  );
}
