import { Injectable } from '@nestjs/common';
import { collectDefaultMetrics, Counter, Histogram, Registry } from 'prom-client';

/** Central's numbers, by Prometheus' conventions. No label takes values that a client makes up. */
@Injectable()
export class SyncMetrics {
  readonly registry = new Registry();

  private readonly requests = new Counter({
    name: 'waypost_central_requests_total',
    help: 'Requests of devices by operation, status and reason.',
    labelNames: ['operation', 'status', 'reason'],
    registers: [this.registry],
  });
  private readonly requestSeconds = new Histogram({
    name: 'waypost_central_request_duration_seconds',
    help: 'From a request to its answer.',
    labelNames: ['operation'],
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300],
    registers: [this.registry],
  });
  private readonly buildSeconds = new Histogram({
    name: 'waypost_central_snapshot_build_duration_seconds',
    help: 'Reading, hashing, compressing and storing one device’s share of all tables.',
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300],
    registers: [this.registry],
  });
  private readonly snapshotRows = new Counter({
    name: 'waypost_central_snapshot_rows_total',
    help: 'Rows read for snapshots.',
    registers: [this.registry],
  });
  private readonly snapshotBytes = new Counter({
    name: 'waypost_central_snapshot_bytes_total',
    help: 'Canonical bytes read for snapshots.',
    registers: [this.registry],
  });
  private readonly acks = new Counter({
    name: 'waypost_central_acks_total',
    help: 'Acknowledgements stored, by result.',
    labelNames: ['result'],
    registers: [this.registry],
  });

  constructor() {
    collectDefaultMetrics({ register: this.registry });
  }

  requested(operation: string, status: string, reason: string | null, seconds: number): void {
    this.requests.inc({ operation, status, reason: reason ?? '' });
    this.requestSeconds.observe({ operation }, seconds);
  }

  snapshotBuilt(seconds: number, rows: number, bytes: number): void {
    this.buildSeconds.observe(seconds);
    this.snapshotRows.inc(rows);
    this.snapshotBytes.inc(bytes);
  }

  acknowledged(result: string): void {
    this.acks.inc({ result });
  }
}
