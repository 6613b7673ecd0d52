import { Injectable } from '@nestjs/common';
import { TtlCache } from '@waypost/runtime';
import { Gauge } from 'prom-client';
import { DataSource } from 'typeorm';
import { ChangeTracker } from './change-tracker.js';
import { OLDEST_TRANSACTION } from './oldest-transaction.sql.js';
import { SyncMetrics } from '../metrics/sync-metrics.js';

/** A scrape waits no longer. */
const TIMEOUT_MS = 3000;
/** Shorter than the usual intervals of scrapes. */
const TTL_MS = 5000;

interface Oldest {
  /** Null while no transaction writes. */
  xid: string | null;
  /** Seconds since it began, as far as central's role may see; null where it may not. */
  age: number | null;
}

/**
 * How long the oldest transaction that writes has been open. Captured changes are kept until it ends: nothing is ever skipped for it. Who may not see
 * others' sessions still sees which transaction is the oldest; its age then counts from the first scrape that met it.
 */
@Injectable()
export class OldestTransaction {
  private readonly oldest = new TtlCache(() => this.read(), { ttlMs: TTL_MS, timeoutMs: TIMEOUT_MS });
  private met: { xid: string; atMs: number } | undefined;

  constructor(
    private readonly dataSource: DataSource,
    private readonly tracker: ChangeTracker,
    { registry }: SyncMetrics,
  ) {
    const gauge: Gauge = new Gauge({
      name: 'waypost_central_oldest_transaction_seconds',
      help: 'With changes: triggers, age of the oldest transaction that writes: captured changes are not pruned before it ends; NaN if unknown.',
      registers: [registry],
      collect: async () => gauge.set((this.tracker.isWanted ? await this.oldest.get() : undefined) ?? NaN),
    });
  }

  private async read(): Promise<number> {
    const [{ xid, age }] = await this.dataSource.query<[Oldest]>(OLDEST_TRANSACTION);
    if (xid === null) return 0;
    if (this.met?.xid !== xid) this.met = { xid, atMs: performance.now() };
    return Math.max(age ?? 0, (performance.now() - this.met.atMs) / 1000);
  }
}
