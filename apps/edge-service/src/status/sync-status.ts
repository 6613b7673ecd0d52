import { Inject, Injectable } from '@nestjs/common';
import { type ErrorCode, WaypostError } from '@waypost/contracts';
import { LOGGER } from '@waypost/runtime';
import { toWaypostError } from '@waypost/runtime/service';
import type { Logger } from 'pino';
import { AckOutbox } from '../acks/ack-outbox.js';
import { SyncLog, type Totals } from '../audit/sync-log.js';
import { type BreakerState, CentralCircuit } from '../central/central-circuit.js';
import { Database } from '../database/database.js';
import type { SyncLogEntity } from '../database/entities/sync-log.entity.js';
import { Metrics } from '../metrics/metrics.js';
import type { VerifiedAge } from '../metrics/verified-age.js';
import { type AppliedState, type LastScrub, MirrorState } from '../state/mirror-state.js';
import type { CycleReport } from '../phase/cycle.js';
import { ManifestTrust, type TrustReport } from '../trust/manifest-trust.js';
import { STATUS_OPTIONS, type StatusOptions } from './status-options.js';

/** An error that needs an operator, until a cycle succeeds. */
export interface Alert {
  code: ErrorCode;
  detail: string;
  hint: string;
  since: Date;
}

export interface StatusReport {
  running: boolean;
  intervalMs: number;
  lastAttempt: { startedAt: Date; status: string; error?: { code: string; detail: string } } | null;
  lastSuccess: { at: Date; manifestId: string; sequence: number; epoch: string } | null;
  /** Over all cycles in edge_sync_log; null while the database is away. */
  totals: Totals | null;
  consecutiveFailures: number;
  /**
   * Since the data was last found equal to a manifest; restarts do not reset it. Steps of the device's clock do not change it within a
   * process; over a restart it is at least the process's own age.
   */
  verifiedAgeMs: number | null;
  /**
   * How much the last proofs covered: a sync reads back what it wrote and knows the rest as it was read before. Every row was read at least so long ago, or
   * later; null before that.
   */
  wholeAgeMs: number | null;
  lastScrub: LastScrub | null;
  breaker: BreakerState;
  pendingAcks: number | null;
  /** Rows that left the device's share and stay because rows of the device's own reference them. */
  keptRows: number | null;
  alert: Alert | null;
  /** Whether manifests are verified, and by which keys; null while that cannot be read. */
  trust: TrustReport | null;
}

/** What heals by itself as a rule, but should be looked at when it does not. */
const SUSPICIOUS: ReadonlySet<ErrorCode> = new Set([
  'VERIFICATION_FAILED',
  'CHUNK_CORRUPT',
  'MANIFEST_INVALID',
  'DATABASE_READ_ONLY',
  'DATABASE_FULL',
]);

/** How this device's sync is doing: for the API, for /health and for the metrics. */
@Injectable()
export class SyncStatus {
  private readonly verified: VerifiedAge;
  private attempt: { startedAt: Date; status: string; error?: WaypostError } | undefined;
  private runningSince: Date | undefined;
  private failures = 0;
  private applied: AppliedState | undefined;
  private raised: Alert | null = null;
  /** Until a scrub finds other rows as they should be. */
  private repeatedDrift: Alert | null = null;

  constructor(
    @Inject(STATUS_OPTIONS) private readonly options: StatusOptions,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly database: Database,
    private readonly log: SyncLog,
    private readonly acks: AckOutbox,
    private readonly state: MirrorState,
    private readonly circuit: CentralCircuit,
    private readonly metrics: Metrics,
    private readonly trust: ManifestTrust,
  ) {
    this.verified = metrics.verified;
    metrics.findAlert = () => this.alert?.code;
  }

  /** What an operator has to act on: while the database is not ready, the reason. */
  get alert(): Alert | null {
    const { fault } = this.database;
    if (fault) return alertOf(fault.error, fault.since);
    const { alert: stale } = this.trust;
    return this.raised ?? (stale ? alertOf(stale.error, stale.since) : this.repeatedDrift);
  }

  /** The database was replaced: what it held is lost. */
  forget(): void {
    this.applied = undefined;
    this.verified.forget();
  }

  /** A scrub has ended. @param repeated key ranges whose rows had drifted in the scrub before, too */
  async scrubbed(repeated: readonly { table: string; firstKey: string | null; lastKey: string | null }[]): Promise<void> {
    const ranges = repeated.map(({ table, firstKey, lastKey }) => `${table} (${firstKey ?? ''}, ${lastKey ?? ''}]`);
    const error = new WaypostError('MIRROR_DRIFTED', {
      detail: `The same rows have drifted again since the scrub before: ${ranges.join('; ')}.`,
    });
    this.repeatedDrift = ranges.length > 0 ? alertOf(error, this.repeatedDrift?.since ?? new Date()) : null;
    await this.readStored();
  }

  get consecutiveFailures(): number {
    return this.failures;
  }

  get lastError(): WaypostError | undefined {
    return this.attempt?.error;
  }

  started(at: Date): void {
    this.runningSince = at;
    this.metrics.cycleRunning.set(1);
  }

  /** Another process holds the cycle lock: nothing happened here. */
  abandoned(): void {
    this.ended();
  }

  finished(report: CycleReport, log: Logger): void {
    this.ended();
    const { error, status, startedAt, durationMs, progress, rowsLoaded, rawBytes } = report;
    this.attempt = { startedAt, status, ...(error ? { error } : {}) };
    const facts = { status, durationMs, ...progress, rowsLoaded };
    if (error) this.failed(error, facts, log);
    else this.succeeded(facts, log);
    this.metrics.cycles.inc({ status: status.toLowerCase() });
    this.metrics.cycleSeconds.observe(durationMs / 1000);
    this.metrics.rowsLoaded.inc(rowsLoaded);
    this.metrics.rawBytes.inc(rawBytes);
    this.metrics.consecutiveFailures.set(this.failures);
  }

  /** Age of the verified state, as far as known without asking the database; undefined before the first. */
  get verifiedAgeMs(): number | undefined {
    return this.verified.ageMs;
  }

  /** Everything at once; what only the database knows is null or as last known while it is away. */
  async report(): Promise<StatusReport> {
    const stored = await this.readStored();
    const { applied } = this;
    return {
      running: this.runningSince !== undefined,
      intervalMs: this.options.syncIntervalMs,
      lastAttempt: this.attempt ? attemptOf(this.attempt) : (stored?.last ?? null),
      lastSuccess: applied
        ? { at: applied.verifiedAt, manifestId: applied.manifestId, sequence: applied.sequence, epoch: applied.epoch }
        : null,
      totals: stored?.totals ?? null,
      consecutiveFailures: this.failures,
      verifiedAgeMs: applied ? (this.verified.ageMs ?? null) : null,
      wholeAgeMs: stored?.coverage.wholeAgeMs ?? null,
      lastScrub: stored?.coverage.lastScrub ?? null,
      breaker: this.circuit.state,
      pendingAcks: stored?.pendingAcks ?? null,
      keptRows: stored?.keptRows ?? null,
      alert: this.alert,
      trust: await this.trust.report().catch(() => null),
    };
  }

  /** What only a good cycle changes; it may know it already. */
  async countRetainedRows(known?: number): Promise<void> {
    this.metrics.keptRows.set(known ?? (await this.state.countRetained()));
  }

  /** Brings the metrics up to what an earlier process left. */
  async restore(): Promise<void> {
    if (await this.database.opened()) await this.readStored();
  }

  private async readStored() {
    if (!this.database.ready) return undefined;
    try {
      const [last, totals, pendingAcks, keptRows, applied, coverage] = await Promise.all([
        this.log.findLast(),
        this.log.totals(),
        this.acks.countPending(),
        this.state.countRetained(),
        this.state.findApplied(),
        this.state.readCoverage(),
      ]);
      this.applied = applied;
      this.verified.restore(applied?.verifiedAt);
      this.metrics.keptRows.set(keptRows);
      this.metrics.wholeAgeSeconds.set(coverage.wholeAgeMs === null ? NaN : coverage.wholeAgeMs / 1000);
      return { coverage, last: last ? storedAttempt(last) : null, totals, pendingAcks, keptRows };
    } catch (error) {
      this.logger.warn({ reason: toWaypostError(error).message }, 'the status could not be read from the database');
      return undefined;
    }
  }

  private ended(): void {
    this.runningSince = undefined;
    this.metrics.cycleRunning.set(0);
  }

  private succeeded(facts: object, log: Logger): void {
    this.failures = 0;
    this.raised = null;
    this.verified.renew();
    log.info(facts, 'cycle finished');
  }

  private failed(error: WaypostError, facts: object, log: Logger): void {
    if (error.code === 'SHUTTING_DOWN') {
      log.info({ ...facts, reason: error.message }, 'cycle aborted');
      return;
    }
    this.failures += 1;
    this.metrics.cycleFailed(error.code);
    const urgent = error.heals === 'operator' || error.heals === 'bug' || SUSPICIOUS.has(error.code);
    if (urgent) this.raise(error);
    log[urgent ? 'error' : 'warn']({ err: error, ...facts, consecutiveFailures: this.failures, alert: urgent }, 'cycle failed');
  }

  private raise(error: WaypostError): void {
    this.raised = alertOf(error, this.raised?.code === error.code ? this.raised.since : new Date());
  }
}

function alertOf({ code, message, hint }: WaypostError, since: Date): Alert {
  return { code, detail: message, hint, since };
}

function attemptOf({ startedAt, status, error }: { startedAt: Date; status: string; error?: WaypostError }) {
  return { startedAt, status, ...(error ? { error: { code: error.code, detail: error.message } } : {}) };
}

function storedAttempt({ startedAt, status, errorCode, errorText }: SyncLogEntity) {
  return { startedAt, status, ...(errorCode ? { error: { code: errorCode, detail: errorText ?? '' } } : {}) };
}
