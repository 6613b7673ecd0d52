import { Inject, Injectable } from '@nestjs/common';
import type { ErrorCode, Have, Manifest, WaypostError } from '@waypost/contracts';
import { currentContext, LOGGER, addContext, redactText, statementOf, traced, withoutContext } from '@waypost/runtime';
import type { FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { Batcher } from '../database/batcher.js';
import { SyncMetrics } from '../metrics/sync-metrics.js';
import { AUDIT_ISSUED, AUDIT_NOT_SERVED, AUDIT_REQUEST } from './audit.sql.js';
import { CountedRefusals } from './counted-refusals.js';
import { RefusalBudget } from './refusal-budget.js';

/** What a device does with a request, as the audit and the metrics name it; `operator`: what operators and programs ask for, audited where it is refused. */
export type Operation = 'request' | 'download' | 'ack' | 'enroll' | 'token' | 'ledger' | 'operator';
type Status = 'Issued' | 'Refused' | 'Failed';

/** What is known about a request so far: the audit gets it, whatever comes of the request. */
export class RequestFacts {
  readonly requestedAt = new Date();
  private readonly started = performance.now();
  private knownMac: string | null = null;
  private knownManifest: string | null = null;
  private isAccepted = false;
  /** The device's cycle, if it says so. */
  readonly cycleId = currentContext()?.ids.cycleId ?? null;
  /** What the device says to hold. */
  have: Have | undefined;

  constructor(
    readonly operation: Operation,
    readonly requestId: string,
  ) {}

  /** The device that was identified, by its normalized MAC. It is on the request's later log lines, too, and on its spans. */
  accept(mac: string): string {
    this.isAccepted = true;
    return this.noteMac(mac);
  }

  /** Whether the device was identified. */
  get accepted(): boolean {
    return this.isAccepted;
  }

  get mac(): string | null {
    return this.knownMac;
  }

  set manifestId(manifestId: string) {
    this.knownManifest = manifestId;
    addContext({ manifestId });
  }

  get manifestId(): string | null {
    return this.knownManifest;
  }

  /** Notes the MAC as it was sent, before anything judges it. */
  claimMac(mac: unknown): void {
    // PostgreSQL's text has no NUL.
    if (typeof mac === 'string') this.noteMac(redactText(mac.slice(0, MAX_TEXT_CHARS)).slice(0, MAX_MAC_CHARS).replaceAll('\0', ''));
  }

  private noteMac(mac: string): string {
    this.knownMac = mac;
    addContext({ mac });
    return mac;
  }

  get durationMs(): number {
    return Math.round(performance.now() - this.started);
  }
}

const FACTS = new WeakMap<FastifyRequest, RequestFacts>();

/** The facts of a request, begun at the first call. */
export function auditOf(request: FastifyRequest, operation: Operation): RequestFacts {
  const facts = FACTS.get(request) ?? new RequestFacts(operation, request.id);
  FACTS.set(request, facts);
  return facts;
}

/** Of what a client calls a MAC: what is looked at, and what is kept. */
const [MAX_TEXT_CHARS, MAX_MAC_CHARS] = [4096, 64];

/** Devices that are answered together are audited together. */
const MAX_BATCH = 200;
/** The column of a row that is the device's MAC. */
const MAC = 0;

/** A hundred thousand refused requests a minute, each with another MAC, leave this many rows. */
const REFUSAL_LIMITS = { windowMs: 60_000, maxRows: 120, maxAlike: 10 } as const;

/** Keeps who asked for what, when, and what came of it; and with it what is known of the device (waypost.device_states). */
@Injectable()
export class RequestAudit {
  private readonly issuing = new Batcher<unknown[], void>((rows) => this.writeIssued(rows), MAX_BATCH);

  private readonly refusals: RefusalBudget;

  constructor(
    private readonly dataSource: DataSource,
    private readonly metrics: SyncMetrics,
    private readonly counted: CountedRefusals,
    @Inject(LOGGER) logger: Logger,
  ) {
    this.refusals = new RefusalBudget(REFUSAL_LIMITS, (refusals) =>
      withoutContext(() => logger.warn({ refusals }, 'refusals of the last minutes were counted by hour and not audited one by one')),
    );
  }

  /** Awaited before the manifest leaves: no device has one that the audit does not know. */
  async issued(facts: RequestFacts, { manifest, isNew }: { manifest: Manifest; isNew: boolean }): Promise<void> {
    facts.manifestId = manifest.manifestId;
    const row = this.rowOf(facts, 'Issued', isNew ? null : 'unchanged');
    const values = [...row, facts.have?.manifestId ?? null, JSON.stringify(manifest.filters)];
    await traced('audit', { attributes: statementOf(AUDIT_ISSUED) }, () => this.issuing.do(values));
  }

  /** A request that was audited together with others, or leaves no row, in the metrics. */
  count(facts: RequestFacts, reason: 'unchanged' | null): void {
    this.metrics.requested(facts.operation, 'Issued', reason, facts.durationMs / 1000);
  }

  /** A device that enrolled. */
  async enrolled(facts: RequestFacts): Promise<void> {
    await this.dataSource.query(AUDIT_REQUEST, this.rowOf(facts, 'Issued', null));
  }

  /** A device that says what is wrong at central. */
  async reported(facts: RequestFacts, reason: ErrorCode): Promise<void> {
    await this.dataSource.query(AUDIT_REQUEST, this.rowOf(facts, 'Issued', reason));
  }

  /**
   * The state of a device changes only where central failed to serve it, or found that it may have nothing: what a malformed message, or one that names
   * some manifest, says of a device, anyone could have said. Of what is refused only so much a minute is a row; the rest is counted by hour.
   */
  async refused(facts: RequestFacts, error: WaypostError): Promise<void> {
    const row = this.rowOf(facts, error.status >= 500 ? 'Failed' : 'Refused', error.code);
    if (error.status < 500 && !this.refusals.take(`${facts.mac} ${facts.operation} ${error.code}`))
      return this.counted.add(facts.operation, error.code, facts.durationMs);
    const isOfDevice = facts.accepted && error.code !== 'REQUEST_INVALID' && (facts.operation === 'request' || error.status >= 500);
    const [text, values] = isOfDevice ? [AUDIT_NOT_SERVED, [...row, error.message.replaceAll('\0', '')]] : [AUDIT_REQUEST, row];
    await traced('audit', { attributes: statementOf(text) }, () => this.dataSource.query(text, values));
  }

  /** A statement changes the state of each device once. */
  private async writeIssued(rows: readonly unknown[][]): Promise<void[]> {
    for (let rest = rows; rest.length > 0;) {
      const first = new Map(rest.toReversed().map((row) => [row[MAC], row]));
      const columns = rows[0]!.map((_, column) => [...first.values()].map((row) => row[column]));
      await this.dataSource.query(AUDIT_ISSUED, columns);
      rest = rest.filter((row) => first.get(row[MAC]) !== row);
    }
    return rows.map(() => undefined);
  }

  /** Of waypost.sync_requests; counted in the metrics at once, for the database may be away. */
  private rowOf(facts: RequestFacts, status: Status, reason: ErrorCode | 'unchanged' | null): unknown[] {
    const { mac, manifestId, requestedAt, operation, durationMs, requestId, cycleId } = facts;
    this.metrics.requested(operation, status, reason, durationMs / 1000);
    return [mac, manifestId, requestedAt, operation, status, reason, durationMs, requestId, cycleId];
  }
}
