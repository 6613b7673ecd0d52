import { Injectable } from '@nestjs/common';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { VerifiedAge } from './verified-age.js';

const STEP_SECONDS = [0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800];

/** What Prometheus may ask of an edge. Gauges without a set() here are set where the fact changes. */
@Injectable()
export class Metrics {
  readonly registry = new Registry();

  readonly cycles = new Counter({
    name: 'waypost_edge_cycles_total',
    help: 'Finished sync cycles by outcome: success, unchanged, failed.',
    labelNames: ['status'],
    registers: [this.registry],
  });
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
  readonly alerts = new Gauge({
    name: 'waypost_edge_alerts',
    help: '1 for the error that somebody has to act on; cleared by the next good cycle.',
    labelNames: ['code'],
    registers: [this.registry],
  });
  /** Kept by cycle/sync-status.ts. */
  readonly verified = new VerifiedAge();

  constructor() {
    collectDefaultMetrics({ register: this.registry });
    this.registry.setDefaultLabels({ service: 'edge-service' });
  }

  private counter(name: string, help: string): Counter {
    return new Counter({ name, help, registers: [this.registry] });
  }

  private gauge(name: string, help: string): Gauge {
    return new Gauge({ name, help, registers: [this.registry] });
  }
}
