import { AsyncLocalStorage } from 'node:async_hooks';
import type { Span } from '@opentelemetry/api';

/** Ids of a request or cycle. Each of its log lines and spans carries those that are known. */
export interface ContextIds {
  /** Of an HTTP request to this service. */
  requestId?: string;
  /** Of the device's sync cycle, also at central. */
  cycleId?: string;
  manifestId?: string;
  mac?: string;
}

/** Attributes of spans. */
const ID_ATTRIBUTES: Record<keyof ContextIds, string> = {
  requestId: 'waypost.request_id',
  cycleId: 'waypost.cycle_id',
  manifestId: 'waypost.manifest_id',
  mac: 'waypost.mac',
};

interface EndedSpan {
  span: Span;
  endedAt: number;
}

/** One request or cycle with its spans. Each span must name the manifest, whose id becomes known only later. */
export class RequestContext {
  private readonly open = new Set<Span>();
  /** Ended before the manifest's id was known; sent once it is known, or when the context is released. */
  private held: EndedSpan[] = [];
  private released = false;
  private readonly startedAtMs = Date.now() - performance.now();

  constructor(
    readonly ids: ContextIds,
    /** The context that this one is part of. */
    private readonly parent?: RequestContext,
  ) {}

  /** One clock for all spans of a context: a device's clock may be set while it runs, and no span may end before it starts. */
  now(): number {
    return this.parent?.now() ?? this.startedAtMs + performance.now();
  }

  add(ids: ContextIds): void {
    Object.assign(this.ids, ids);
    const attributes = attributesOf(ids);
    for (const span of this.open) span.setAttributes(attributes);
    for (const { span } of this.held) span.setAttributes(attributes);
    if (this.ids.manifestId !== undefined) this.endHeld();
  }

  begin(span: Span): void {
    this.open.add(span);
  }

  end(span: Span): void {
    this.open.delete(span);
    if (this.ids.manifestId === undefined && !this.released) this.held.push({ span, endedAt: this.now() });
    else span.end(this.now());
  }

  /** The request or cycle has ended: ids that are still unknown stay unknown. */
  release(): void {
    this.released = true;
    this.endHeld();
  }

  private endHeld(): void {
    for (const { span, endedAt } of this.held) span.end(endedAt);
    this.held = [];
  }
}

const current = new AsyncLocalStorage<RequestContext>();

/** Runs `work` in a context of its own, which adds `ids` to those of the current context. */
export async function withContext<T>(ids: ContextIds, work: () => Promise<T>): Promise<T> {
  const parent = current.getStore();
  const own = new RequestContext({ ...parent?.ids, ...ids }, parent);
  try {
    return await current.run(own, work);
  } finally {
    own.release();
  }
}

/** Runs `next` in a context that the caller releases later. */
export function runInContext<T>(context: RequestContext, next: () => T): T {
  return current.run(context, next);
}

/** Adds ids to the current context: its further log lines carry them, and all of its spans. Does nothing outside a context. */
export function addContext(ids: ContextIds): void {
  current.getStore()?.add(ids);
}

/** Leaves the context, for an event that belongs to no request, such as an error of an idle connection that a request once opened. */
export function withoutContext<T>(work: () => T): T {
  return current.exit(work);
}

export function currentContext(): RequestContext | undefined {
  return current.getStore();
}

export function attributesOf(ids: ContextIds): Record<string, string> {
  const known = Object.entries(ids).filter((entry): entry is [keyof ContextIds, string] => entry[1] !== undefined);
  return Object.fromEntries(known.map(([name, value]) => [ID_ATTRIBUTES[name], value]));
}
