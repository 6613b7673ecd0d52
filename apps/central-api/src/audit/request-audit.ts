import { Injectable } from '@nestjs/common';
import type { ErrorCode, WaypostError } from '@waypost/contracts';
import type { FastifyRequest } from 'fastify';
import { DataSource } from 'typeorm';
import { SyncRequestRow } from '../database/entities.js';
import { SyncMetrics } from '../health/sync-metrics.js';

/** What is known about a request so far: the audit gets it, whatever comes of the request. */
export class RequestFacts {
  readonly requestedAt = new Date();
  private readonly started = performance.now();
  mac: string | null = null;
  manifestId: string | null = null;

  constructor(
    readonly operation: SyncRequestRow['operation'],
    readonly requestId: string,
  ) {}

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

/** Keeps who asked for what, when, and what came of it. */
@Injectable()
export class RequestAudit {
  constructor(
    private readonly dataSource: DataSource,
    private readonly metrics: SyncMetrics,
  ) {}

  /** Awaited before the manifest leaves: no device has one that the audit does not know. */
  async issued(facts: RequestFacts, reason: 'unchanged' | null): Promise<void> {
    await this.insert(facts, 'Issued', reason);
  }

  async refused(facts: RequestFacts, error: WaypostError): Promise<void> {
    await this.insert(facts, error.status >= 500 ? 'Failed' : 'Refused', error.code);
  }

  private async insert(facts: RequestFacts, status: SyncRequestRow['status'], reason: ErrorCode | 'unchanged' | null): Promise<void> {
    const { mac, manifestId, requestedAt, operation, durationMs, requestId } = facts;
    this.metrics.requested(operation, status, reason, durationMs / 1000);
    await this.dataSource.manager.insert(SyncRequestRow, {
      mac,
      manifestId,
      requestedAt,
      operation,
      status,
      reason,
      durationMs,
      requestId,
    });
  }
}
