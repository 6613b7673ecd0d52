import { Inject, Injectable } from '@nestjs/common';
import { HealthIndicatorService } from '@nestjs/terminus';
import { findMigrationFault, Probe, reportDisk } from '@waypost/runtime/service';
import { DataSource } from 'typeorm';
import { SNAPSHOT_STORE, type SnapshotStore } from '../chunk-store/snapshot-store.js';
import { IDENTITY_OPTIONS, type IdentityOptions, MAC_WARNING } from '../identity/identity-options.js';
import { LedgerAppender } from '../ledger/ledger-appender.js';
import { TrustKeeper } from '../trust/trust-keeper.js';
import { HEALTH_OPTIONS, type HealthOptions } from './health-options.js';

const DATABASE = { code: 'DATABASE_UNAVAILABLE', timeoutMs: 3000 } as const;
/** Kept for a while: a probe may come as often as it likes, and each outcome writes a file. */
const STORE = { code: 'STORAGE_FAILED', timeoutMs: 3000, ttlMs: 5000 } as const;

/** Appending takes a moment. */
const MAX_QUEUE_AGE_S = 60;

/**
 * Down (503): the database is away or lacks migrations, or snapshots cannot be stored. Degraded (200): their disk is nearly full, the key
 * that signs manifests ends soon, devices are identified by their MACs alone, or the ledger is in doubt. Silent
 * or failing devices are none of this: central can do its work all the same (waypost_central_fleet_… tells of them).
 */
@Injectable()
export class HealthIndicators {
  private readonly databaseProbe = new Probe(async () => void (await this.dataSource.query('SELECT 1')), DATABASE);
  private readonly migrationsProbe = new Probe(() => findMigrationFault(this.dataSource), DATABASE);
  private readonly storeProbe = new Probe(() => this.snapshots.check(), STORE);

  constructor(
    private readonly checks: HealthIndicatorService,
    private readonly dataSource: DataSource,
    @Inject(SNAPSHOT_STORE) private readonly snapshots: SnapshotStore,
    @Inject(HEALTH_OPTIONS) private readonly options: HealthOptions,
    @Inject(IDENTITY_OPTIONS) private readonly identities: IdentityOptions,
    private readonly trustKeeper: TrustKeeper,
    private readonly ledgerAppender: LedgerAppender,
  ) {}

  database() {
    return this.databaseProbe.report(this.checks.check('database'));
  }

  migrations() {
    return this.migrationsProbe.report(this.checks.check('migrations'));
  }

  store() {
    return this.storeProbe.report(this.checks.check('store'));
  }

  identity() {
    const check = this.checks.check('identity');
    return this.identities.mode === 'device' ? check.up() : check.degraded({ message: MAC_WARNING });
  }

  /** The database has an indicator of its own. */
  async trust() {
    const check = this.checks.check('trust');
    const trust = await this.trustKeeper.current().catch(() => undefined);
    if (!trust) return check.degraded({ message: 'the keys that sign manifests cannot be read' });
    const facts = { version: trust.signed.document.version, expiresAt: trust.expiresAt.toISOString() };
    return this.trustKeeper.isDue(trust)
      ? check.degraded({ ...facts, message: 'the key that signs manifests ends soon: waypost keys rotate --root-key FILE' })
      : check.up(facts);
  }

  ledger() {
    const check = this.checks.check('ledger');
    const { forks = 0, brokenChains = 0, queueAgeS = 0 } = this.ledgerAppender.state ?? {};
    const facts = { forks, brokenChains };
    if (forks > 0) return check.degraded({ ...facts, message: 'devices say that the ledger does not continue what they saw of it' });
    if (brokenChains > 0) return check.degraded({ ...facts, message: 'receipts of devices have a gap, or were made twice' });
    if ((queueAgeS ?? 0) > MAX_QUEUE_AGE_S) return check.degraded({ ...facts, message: 'receipts wait to be appended to the ledger' });
    return check.up(facts);
  }

  async disk() {
    return reportDisk(this.checks.check('disk'), await this.snapshots.space.get(), this.options.minFreeDiskBytes);
  }
}
