import { Injectable } from '@nestjs/common';
import type { ErrorCode, Have, WaypostError } from '@waypost/contracts';
import { currentWork, noteIds, statementOf, traced } from '@waypost/runtime';
import type { FastifyRequest } from 'fastify';
import { DataSource } from 'typeorm';
import type { SyncRequestRow } from '../database/entities.js';
import { SyncMetrics } from '../health/sync-metrics.js';
import type { IssuedManifest } from '../manifests/issue-manifests.js';
import { AUDIT_ISSUED, AUDIT_REFUSED } from './audit.sql.js';

/** What is known about a request so far: the audit gets it, whatever comes of the request. */
export class RequestFacts {
  readonly requestedAt = new Date();
  private readonly started = performance.now();
  private knownMac: string | null = null;
  private knownManifest: string | null = null;
  /** The device's cycle, if it says so. */
  readonly cycleId = currentWork()?.ids.cycleId ?? null;
  /** What the device says to hold. */
  have: Have | undefined;

  constructor(
    readonly operation: SyncRequestRow['operation'],
    readonly requestId: string,
  ) {}

  /** What is told here is on the request's later log lines, too, and on its spans. */
  set mac(mac: string) {
    this.knownMac = mac;
    noteIds({ mac });
  }

  get mac(): string | null {
    return this.knownMac;
  }

  set manifestId(manifestId: string) {
    this.knownManifest = manifestId;
    noteIds({ manifestId });
  }

  get manifestId(): string | null {
    return this.knownManifest;
  }

  /** Notes the MAC as it was sent, before anything judges it. */
  claimMac(body: unknown): void {
    const mac = (body as { mac?: unknown } | null | undefined)?.mac;
    // PostgreSQL's text has no NUL.
    if (typeof mac === 'string') this.mac = mac.slice(0, 64).replaceAll('\0', '');
  }

  get durationMs(): number {
    return Math.round(performance.now() - this.started);
  }
}

const FACTS = new WeakMap<FastifyRequest, RequestFacts>();

/** The facts of a request, begun at the first call. */
export function auditOf(request: FastifyRequest, operation: SyncRequestRow['operation']): RequestFacts {
  const facts = FACTS.get(request) ?? new RequestFacts(operation, request.id);
  FACTS.set(request, facts);
  return facts;
}

/** Keeps who asked for what, when, and what came of it; and with it what is known of the device (waypost.device_states). */
@Injectable()
export class RequestAudit {
  constructor(
    private readonly dataSource: DataSource,
    private readonly metrics: SyncMetrics,
  ) {}

  /** Awaited before the manifest leaves: no device has one that the audit does not know. */
  async issued(facts: RequestFacts, { manifest, isNew }: IssuedManifest): Promise<void> {
    facts.manifestId = manifest.manifestId;
    const row = this.rowOf(facts, 'Issued', isNew ? null : 'unchanged');
    await this.write(AUDIT_ISSUED, [...row, facts.have?.manifestId ?? null, manifest.filters]);
  }

  /** A request that was audited together with others, in the metrics. */
  count(facts: RequestFacts, reason: 'unchanged'): void {
    this.metrics.requested(facts.operation, 'Issued', reason, facts.durationMs / 1000);
  }

  async refused(facts: RequestFacts, error: WaypostError): Promise<void> {
    const row = this.rowOf(facts, error.status >= 500 ? 'Failed' : 'Refused', error.code);
    await this.write(AUDIT_REFUSED, [...row, error.message.replaceAll('\0', '')]);
  }

  private async write(statement: string, values: unknown[]): Promise<void> {
    await traced('audit', { attributes: statementOf(statement) }, () => this.dataSource.query(statement, values));
  }

  /** Of waypost.sync_requests; counted in the metrics at once, for the database may be away. */
  private rowOf(facts: RequestFacts, status: SyncRequestRow['status'], reason: ErrorCode | 'unchanged' | null): unknown[] {
    const { mac, manifestId, requestedAt, operation, durationMs, requestId, cycleId } = facts;
    this.metrics.requested(operation, status, reason, durationMs / 1000);
    return [mac, manifestId, requestedAt, operation, status, reason, durationMs, requestId, cycleId];
  }
}
