import { Inject, Injectable } from '@nestjs/common';
import { HealthIndicatorService } from '@nestjs/terminus';
import { findMigrationFault, NOT_MIGRATED, Probe, reportDisk } from '@waypost/runtime/service';
import { DataSource } from 'typeorm';
import { CentralCircuit } from '../central/central-circuit.js';
import { SyncStatus } from '../status/sync-status.js';
import { ManifestTrust } from '../trust/manifest-trust.js';
import { Database } from '../database/database.js';
import { DownloadDisk } from '../metrics/download-disk.js';
import { Witness } from '../witness/witness.js';
import { HEALTH_OPTIONS, type HealthOptions } from './health-options.js';

const DATABASE = { code: 'DATABASE_UNAVAILABLE', timeoutMs: 3000 } as const;
/** Intervals without a good cycle after which the data counts as stale. */
const STALE_INTERVALS = 3;
/** Short intervals are no reason to call a central restart unhealthy. */
const MIN_STALE_MS = 60_000;

/**
 * Down (503): the database is away, migrations did not run, downloads cannot be written, or no cycle was good for three intervals (counted from the start of the
 * process at the earliest, so that a device that was off for weeks is not unhealthy before its first cycle).
 * Degraded (200): central does not answer, its signature is stale, its ledger is in doubt, the last cycle failed, or the disk is nearly full; the data is readable and may still be fresh enough.
 */
@Injectable()
export class HealthIndicators {
  private readonly startMs = performance.now();
  private readonly databaseProbe = new Probe(async () => void (await this.db.pool.query('SELECT 1')), DATABASE);
  private readonly migrationsProbe = new Probe(() => findMigrationFault(this.dataSource), DATABASE);

  constructor(
    @Inject(HEALTH_OPTIONS) private readonly options: HealthOptions,
    private readonly checks: HealthIndicatorService,
    private readonly db: Database,
    private readonly dataSource: DataSource,
    private readonly downloadDisk: DownloadDisk,
    private readonly status: SyncStatus,
    private readonly circuit: CentralCircuit,
    private readonly manifestTrust: ManifestTrust,
    private readonly witness: Witness,
  ) {}

  database() {
    return this.databaseProbe.report(this.checks.check('database'));
  }

  migrations() {
    const check = this.checks.check('migrations');
    if (this.db.ready) return this.migrationsProbe.report(check);
    const error = this.db.fault?.error;
    return check.down(error ? { ...NOT_MIGRATED, code: error.code, hint: error.hint } : NOT_MIGRATED);
  }

  async disk() {
    const check = this.checks.check('disk');
    const fault = await this.downloadDisk.writable.fault();
    return fault ? check.down(fault) : reportDisk(check, await this.downloadDisk.space.get(), this.options.minFreeDiskBytes);
  }

  sync() {
    const check = this.checks.check('sync');
    const { verifiedAgeMs, consecutiveFailures, alert } = this.status;
    const staleAfterMs = Math.max(STALE_INTERVALS * this.options.syncIntervalMs, MIN_STALE_MS);
    const ageMs = Math.min(verifiedAgeMs ?? Infinity, performance.now() - this.startMs);
    const facts = {
      phase: verifiedAgeMs === undefined ? 'starting' : 'synced',
      consecutiveFailures,
      ...(alert ? { alert: alert.code } : {}),
    };
    if (this.options.syncIntervalMs > 0 && ageMs > staleAfterMs) {
      return check.down({ ...facts, message: `no good cycle for ${Math.round(ageMs / 1000)} s` });
    }
    return consecutiveFailures > 0 ? check.degraded({ ...facts, message: 'the last cycle failed' }) : check.up(facts);
  }

  async trust() {
    const check = this.checks.check('trust');
    const stale = this.manifestTrust.alert?.error;
    if (stale) return check.degraded({ code: stale.code, message: stale.message, hint: stale.hint });
    const report = await this.manifestTrust.report().catch(() => undefined);
    if (!report) return check.degraded({ message: 'the trust document of IDENTITY_DIR cannot be read' });
    return report.verified ? check.up({ verified: true, version: report.version }) : check.up({ verified: false, message: report.message });
  }

  ledger() {
    const check = this.checks.check('ledger');
    const { forks = [] } = this.witness;
    const [first] = forks;
    if (first === undefined) return check.up();
    const message = `central’s ledger does not continue what this device saw of it: ${first.reason}`;
    return check.degraded({ code: 'LEDGER_FORKED', forks: forks.length, message });
  }

  central() {
    const check = this.checks.check('central');
    const { state } = this.circuit;
    return state === 'closed' ? check.up({ breaker: state }) : check.degraded({ breaker: state, message: 'central does not answer' });
  }
}
