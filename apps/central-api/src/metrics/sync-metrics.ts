import { Injectable } from '@nestjs/common';
import type { ErrorCode } from '@waypost/contracts';
import { createRegistry } from '@waypost/runtime/service';
import { Counter, Gauge, Histogram } from 'prom-client';

const SECONDS = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300];

/** Central's numbers about its own work, by Prometheus' conventions. No label takes values that a client makes up. */
@Injectable()
export class SyncMetrics {
  readonly registry = createRegistry('central-api');
  private readonly registers = [this.registry];

  private readonly requests = new Counter({
    name: 'waypost_central_requests_total',
    help: 'Requests of devices by operation, status and reason (an error code, or unchanged).',
    labelNames: ['operation', 'status', 'reason'],
    registers: this.registers,
  });
  private readonly requestSeconds = new Histogram({
    name: 'waypost_central_request_duration_seconds',
    help: 'From a request to its answer; downloads to their end.',
    labelNames: ['operation'],
    buckets: SECONDS,
    registers: this.registers,
  });
  private readonly buildSeconds = new Histogram({
    name: 'waypost_central_snapshot_build_duration_seconds',
    help: 'Reading, hashing, compressing and storing one device’s share of all tables.',
    buckets: SECONDS,
    registers: this.registers,
  });
  private readonly tableSeconds = new Histogram({
    name: 'waypost_central_snapshot_table_build_duration_seconds',
    help: 'Reading, hashing, compressing and storing one device’s share of one table.',
    buckets: SECONDS,
    registers: this.registers,
  });
  private readonly snapshotRows = new Counter({
    name: 'waypost_central_snapshot_rows_total',
    help: 'Rows read for snapshots.',
    registers: this.registers,
  });
  private readonly snapshotBytes = new Counter({
    name: 'waypost_central_snapshot_bytes_total',
    help: 'Canonical bytes read for snapshots.',
    registers: this.registers,
  });
  private readonly tableSnapshots = new Counter({
    name: 'waypost_central_table_snapshots_total',
    help: 'Tables of snapshots, by whether they were read whole (built), only where rows had changed (changed), or taken from a read for others (shared).',
    labelNames: ['source'],
    registers: this.registers,
  });
  private readonly driftedChunks = new Counter({
    name: 'waypost_central_drifted_chunks_total',
    help: 'Chunks whose rows devices found altered, as they reported.',
    registers: this.registers,
  });
  private readonly acks = new Counter({
    name: 'waypost_central_acks_total',
    help: 'Acknowledgements stored, by result.',
    labelNames: ['result'],
    registers: this.registers,
  });

  private readonly shadowReads = new Counter({
    name: 'waypost_central_shadow_reads_total',
    help: 'Unchanged manifests whose tables were read and compared, by result: equal, different (a change was not captured), skipped, failed.',
    labelNames: ['result'],
    registers: this.registers,
  });
  private readonly shadowSeconds = new Counter({
    name: 'waypost_central_shadow_read_seconds_total',
    help: 'Time spent on shadow reads.',
    registers: this.registers,
  });
  private readonly canaries = new Counter({
    name: 'waypost_central_canaries_total',
    help: 'Captured tables that were written to without changing a row, by result: recorded, missed (a change is not captured), not_checked (locked, or refused).',
    labelNames: ['result'],
    registers: this.registers,
  });
  private coalescer = { waiting: 0 };

  constructor() {
    // An increase from nothing to 1 is none to Prometheus: what alarms look at starts at 0.
    for (const result of ['Success', 'Failed']) this.acks.inc({ result }, 0);
    for (const source of ['built', 'changed', 'shared']) this.tableSnapshots.inc({ source }, 0);
    for (const result of ['equal', 'different', 'skipped', 'failed']) this.shadowReads.inc({ result }, 0);
    for (const result of ['recorded', 'missed', 'not_checked']) this.canaries.inc({ result }, 0);
  }

  requested(operation: string, status: string, reason: ErrorCode | 'unchanged' | null, seconds: number): void {
    this.requests.inc({ operation, status, reason: reason ?? '' });
    this.requestSeconds.observe({ operation }, seconds);
  }

  /** Once for all devices that are answered from it; rows and bytes of what was read for it. */
  snapshotBuilt({ seconds, rows, bytes, shared }: { seconds: number; rows: number; bytes: number; shared: number }): void {
    this.buildSeconds.observe(seconds);
    this.snapshotRows.inc(rows);
    this.snapshotBytes.inc(bytes);
    this.tableSnapshots.inc({ source: 'shared' }, shared);
  }

  tableRead(seconds: number, source: 'built' | 'changed'): void {
    this.tableSeconds.observe(seconds);
    this.tableSnapshots.inc({ source });
  }

  drifted(chunks: number): void {
    this.driftedChunks.inc(chunks);
  }

  acknowledged(result: 'Success' | 'Failed'): void {
    this.acks.inc({ result });
  }

  shadowRead(result: 'equal' | 'different' | 'skipped' | 'failed', seconds: number): void {
    this.shadowReads.inc({ result });
    this.shadowSeconds.inc(seconds);
  }

  /** To be called once, by what makes shadow reads. */
  watchShadowReads(read: () => Promise<{ findings: number; age: number | null } | undefined>): void {
    const findings = 'Open findings of shadow reads: tables whose changes were not captured; NaN if unknown.';
    this.gauge('waypost_central_shadow_findings', findings, async () => (await read())?.findings ?? NaN);
    const age = 'Age of the oldest of the last comparisons of each table that was compared; NaN before the first.';
    this.gauge('waypost_central_shadow_read_age_seconds', age, async () => (await read())?.age ?? NaN);
  }

  canaryTried(result: 'recorded' | 'missed' | 'not_checked'): void {
    this.canaries.inc({ result });
  }

  /** To be called once, by what tries whether writes are captured. */
  watchCanary(read: () => Promise<{ findings: number; unchecked: number } | undefined>): void {
    const findings = 'Open findings of the canary: tables that can be written to without being captured; NaN if unknown.';
    this.gauge('waypost_central_canary_findings', findings, async () => (await read())?.findings ?? NaN);
    const unchecked = 'Captured tables of which no try of the canary has said anything for a day, or ever; NaN if unknown.';
    this.gauge('waypost_central_canary_unchecked', unchecked, async () => (await read())?.unchecked ?? NaN);
  }

  get buildsWaiting(): number {
    return this.coalescer.waiting;
  }

  /** To be called once, by the owner of the permits. */
  watchBuilds(coalescer: { inUse: number; waiting: number }): void {
    this.coalescer = coalescer;
    this.gauge(
      'waypost_central_builds_in_flight',
      'MAX_CONCURRENT_BUILDS places in use; one serves all requests of a share.',
      () => coalescer.inUse,
    );
    this.gauge(
      'waypost_central_builds_waiting',
      'Requests that wait for one of MAX_CONCURRENT_BUILDS places, or for the one that serves their share.',
      () => coalescer.waiting,
    );
  }

  /** A gauge whose value is read at each scrape. */
  gauge(name: string, help: string, read: () => number | Promise<number>): void {
    const gauge: Gauge = new Gauge({ name, help, registers: this.registers, collect: async () => gauge.set(await read()) });
  }
}
