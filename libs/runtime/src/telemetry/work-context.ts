import { AsyncLocalStorage } from 'node:async_hooks';
import type { Span } from '@opentelemetry/api';

/** What a piece of work is about. Each log line that it writes and each of its spans carries what is known of it. */
export interface WorkIds {
  /** Of a request that this service answers. */
  requestId?: string;
  /** Of the device's sync cycle, also at central. */
  cycleId?: string;
  manifestId?: string;
  mac?: string;
}

/** Attributes of spans. */
export const ID_ATTRIBUTES: Record<keyof WorkIds, string> = {
  requestId: 'waypost.request_id',
  cycleId: 'waypost.cycle_id',
  manifestId: 'waypost.manifest_id',
  mac: 'waypost.mac',
};

interface EndedSpan {
  span: Span;
  endedAt: number;
}

/** One request or cycle, with its spans: they must all name the manifest, whose id is known only on the way. */
export class Work {
  private readonly open = new Set<Span>();
  /** Ended before the manifest's id was known; sent when it is, or when the work is done. */
  private held: EndedSpan[] = [];
  private done = false;
  private readonly startedAtMs = Date.now() - performance.now();

  constructor(
    readonly ids: WorkIds,
    /** Whose spans this one's are part of. */
    private readonly parent?: Work,
  ) {}

  /** One clock for all spans of the work: a device's clock may be set meanwhile, and spans must not end before they start. */
  now(): number {
    return this.parent?.now() ?? this.startedAtMs + performance.now();
  }

  note(ids: WorkIds): void {
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
    if (this.ids.manifestId === undefined && !this.done) this.held.push({ span, endedAt: this.now() });
    else span.end(this.now());
  }

  /** The work is done: whatever is not known now never will be. */
  release(): void {
    this.done = true;
    this.endHeld();
  }

  private endHeld(): void {
    for (const { span, endedAt } of this.held) span.end(endedAt);
    this.held = [];
  }
}

const current = new AsyncLocalStorage<Work>();

/** Runs work under ids of its own, on top of those that it is part of. */
export async function withIds<T>(ids: WorkIds, work: () => Promise<T>): Promise<T> {
  const parent = current.getStore();
  const own = new Work({ ...parent?.ids, ...ids }, parent);
  try {
    return await current.run(own, work);
  } finally {
    own.release();
  }
}

/** As withIds, for work that ends elsewhere: whoever calls this calls `release`. */
export function enterWork<T>(work: Work, next: () => T): T {
  return current.run(work, next);
}

/** Tells what became known of the work under way: from now on its log lines say so, and all of its spans. */
export function noteIds(ids: WorkIds): void {
  current.getStore()?.note(ids);
}

/** For what only happens to be reported in the course of some work, such as by a connection that it opened long ago. */
export function withoutIds<T>(work: () => T): T {
  return current.exit(work);
}

export function currentWork(): Work | undefined {
  return current.getStore();
}

export function attributesOf(ids: WorkIds): Record<string, string> {
  const known = Object.entries(ids).filter((entry): entry is [keyof WorkIds, string] => entry[1] !== undefined);
  return Object.fromEntries(known.map(([name, value]) => [ID_ATTRIBUTES[name], value]));
}
