import { Inject, Injectable } from '@nestjs/common';
import type { ErrorCode } from '@waypost/contracts';
import { type DiskSpace } from '@waypost/runtime';
import { createRegistry } from '@waypost/runtime/service';
import { Counter, Gauge, Histogram } from 'prom-client';
import { DownloadDisk } from './download-disk.js';
import { METRICS_OPTIONS, type MetricsOptions } from './metrics-options.js';
import { VerifiedAge } from './verified-age.js';

const STEP_SECONDS = [0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800];

/** What Prometheus may ask of an edge. Gauges without a set() here are set where the fact changes. */
@Injectable()
export class Metrics {
  readonly registry = createRegistry('edge-service');

  readonly cycles = new Counter({
    name: 'waypost_edge_cycles_total',
    help: 'Finished sync cycles by outcome: success, unchanged, failed.',
    labelNames: ['status'],
    registers: [this.registry],
  });
  private readonly cycleFailures = new Counter<'code'>({
    name: 'waypost_edge_cycle_failures_total',
    help: 'Failed cycles by the code of their error.',
    labelNames: ['code'],
    registers: [this.registry],
  });
  readonly cycleRunning = this.gauge('waypost_edge_cycle_running', '1 while a cycle runs.');
  readonly syncIntervalSeconds = this.gauge('waypost_edge_sync_interval_seconds', 'SYNC_INTERVAL; 0: only on demand.');
  readonly cycleSeconds = new Histogram({
    name: 'waypost_edge_cycle_duration_seconds',
    help: 'Duration of whole cycles.',
    buckets: STEP_SECONDS,
    registers: [this.registry],
  });
  readonly stepSeconds = new Histogram({
    name: 'waypost_edge_step_duration_seconds',
    help: 'Duration of the steps of a cycle.',
    labelNames: ['step'],
    buckets: STEP_SECONDS,
    registers: [this.registry],
  });
  readonly rowsLoaded = this.counter('waypost_edge_rows_loaded_total', 'Rows loaded, verified and committed.');
  readonly downloadedBytes = this.counter('waypost_edge_downloaded_bytes_total', 'Bytes of chunk streams received.');
  readonly rawBytes = this.counter('waypost_edge_raw_bytes_total', 'Canonical bytes loaded, verified and committed.');
  readonly verifiedAgeSeconds: Gauge = new Gauge({
    name: 'waypost_edge_verified_age_seconds',
    help: 'Age of the last state that was equal to a manifest; -1 before the first.',
    registers: [this.registry],
    collect: () => void this.verifiedAgeSeconds.set(this.verified.ageMs === undefined ? -1 : this.verified.ageMs / 1000),
  });
  readonly consecutiveFailures = this.gauge('waypost_edge_consecutive_failures', 'Failed cycles since the last good one.');
  readonly breakerState = this.gauge('waypost_edge_breaker_state', 'Circuit breaker towards central: 0 closed, 1 half-open, 2 open.');
  readonly pendingAcks = this.gauge('waypost_edge_pending_acks', 'Acknowledgements that central does not have yet.');
  readonly refusedAcks = this.gauge('waypost_edge_refused_acks', 'Acknowledgements that central refused for good, set aside.');
  readonly ledgerForks = this.gauge(
    'waypost_edge_ledger_forks',
    'Findings that central’s ledger does not continue what the device saw of it, and that are not resolved.',
  );
  readonly keptRows = this.gauge('waypost_edge_kept_rows', 'Rows beside the mirror, kept for rows of the device that reference them.');
  readonly scrubs = new Counter({
    name: 'waypost_edge_scrubs_total',
    help: 'Scrubs by result: clean, drifted, failed.',
    labelNames: ['result'],
    registers: [this.registry],
  });
  readonly driftedChunks = this.counter(
    'waypost_edge_drifted_chunks_total',
    'Chunks in which a scrub found other rows than were verified last.',
  );
  readonly wholeAgeSeconds = this.gauge(
    'waypost_edge_whole_age_seconds',
    'Age of the oldest reading of a whole table, as of the last status or scrub: since then every row was read. NaN where a table never was.',
  );
  readonly clockOffsetSeconds = this.gauge(
    'waypost_edge_clock_offset_seconds',
    'The device’s clock minus central’s, as of the last answer of central, to about a second; NaN before the first.',
  );
  readonly trustVersion = this.gauge(
    'waypost_edge_trust_version',
    'Version of the trust document that the device follows; 0 while manifests are not verified.',
  );
  readonly signatureAgeSeconds = this.gauge(
    'waypost_edge_signature_age_seconds',
    'Age of central’s signature when its last answer came; NaN before the first, and while manifests are not verified.',
  );
  private readonly diskFreeBytes: Gauge = new Gauge({
    name: 'waypost_edge_disk_free_bytes',
    help: 'Free space of the file system with DOWNLOAD_DIR; NaN while it cannot be read.',
    labelNames: ['disk'],
    registers: [this.registry],
    collect: () => this.observeDisk(this.diskFreeBytes, 'freeBytes'),
  });
  private readonly diskSizeBytes: Gauge = new Gauge({
    name: 'waypost_edge_disk_size_bytes',
    help: 'Size of the file system with DOWNLOAD_DIR; NaN while it cannot be read.',
    labelNames: ['disk'],
    registers: [this.registry],
    collect: () => this.observeDisk(this.diskSizeBytes, 'sizeBytes'),
  });
  private readonly alerts: Gauge<'code'> = new Gauge<'code'>({
    name: 'waypost_edge_alerts',
    help: '1 for an error that needs an operator; cleared by the next good cycle.',
    labelNames: ['code'],
    registers: [this.registry],
    collect: () => {
      this.alerts.reset();
      const code = this.findAlert();
      if (code) this.alerts.set({ code }, 1);
    },
  });
  /** Set by status/sync-status.ts. */
  findAlert: () => ErrorCode | undefined = () => undefined;
  /** Kept by status/sync-status.ts. */
  readonly verified = new VerifiedAge();

  constructor(
    @Inject(METRICS_OPTIONS) options: MetricsOptions,
    private readonly disk: DownloadDisk,
  ) {
    this.syncIntervalSeconds.set(options.syncIntervalMs / 1000);
    this.clockOffsetSeconds.set(NaN);
    this.signatureAgeSeconds.set(NaN);
    for (const result of ['clean', 'drifted', 'failed']) this.scrubs.inc({ result }, 0);
    this.wholeAgeSeconds.set(NaN);
    for (const status of ['success', 'unchanged', 'failed']) this.cycles.inc({ status }, 0);
  }

  cycleFailed(code: ErrorCode): void {
    this.cycleFailures.inc({ code });
  }

  private async observeDisk(gauge: Gauge, fact: keyof DiskSpace): Promise<void> {
    const space = await this.disk.space.get();
    gauge.set({ disk: 'downloads' }, space?.[fact] ?? NaN);
  }

  private counter(name: string, help: string): Counter {
    return new Counter({ name, help, registers: [this.registry] });
  }

  private gauge(name: string, help: string): Gauge {
    return new Gauge({ name, help, registers: [this.registry] });
  }
}
