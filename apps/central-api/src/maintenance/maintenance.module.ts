import { type DynamicModule, Global, Inject, Module, type OnApplicationBootstrap } from '@nestjs/common';
import { ScheduleModule } from '@nestjs/schedule';
import { ON_DEMAND, PeriodicTasks } from '@waypost/runtime/service';
import { CaptureModule } from '../capture/capture.module.js';
import { DeltasModule } from '../deltas/deltas.module.js';
import { ChangeTracker } from '../capture/change-tracker.js';
import { PackStore } from '../chunk-store/pack-store.js';
import { AuditSweeper } from './audit-sweeper.js';
import { Canary } from './canary.js';
import { MAINTENANCE_OPTIONS, type MaintenanceOptions } from './maintenance-options.js';
import { ServedCertificate } from './served-certificate.js';
import { ShadowReads } from './shadow-reads.js';
import { SnapshotSweeper } from './snapshot-sweeper.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** Two small files are read. */
const CERTIFICATE_CHECK_MS = 10_000;
/** Centrals that were started together do not try at the same time for ever. */
const CANARY_JITTER = 0.1;

/** What runs in the background, and when. */
@Global()
@Module({
  imports: [ScheduleModule.forRoot(), CaptureModule, DeltasModule],
  providers: [PeriodicTasks, SnapshotSweeper, AuditSweeper, ShadowReads, Canary, ServedCertificate],
  exports: [PeriodicTasks, ShadowReads],
})
export class MaintenanceModule implements OnApplicationBootstrap {
  static forRoot(options: MaintenanceOptions): DynamicModule {
    return { module: MaintenanceModule, providers: [{ provide: MAINTENANCE_OPTIONS, useValue: options }] };
  }

  constructor(
    @Inject(MAINTENANCE_OPTIONS) private readonly options: MaintenanceOptions,
    private readonly tasks: PeriodicTasks,
    private readonly store: PackStore,
    private readonly tracker: ChangeTracker,
    private readonly snapshots: SnapshotSweeper,
    private readonly audit: AuditSweeper,
    private readonly shadowReads: ShadowReads,
    private readonly canary: Canary,
    private readonly certificate: ServedCertificate,
  ) {}

  onApplicationBootstrap(): void {
    this.sweepSnapshots();
    this.sweepAudit();
    if (this.certificate.isWanted) this.reloadCertificate();
    if (!this.tracker.isWanted) return;
    if (this.options.shadowReadEvery > 0) this.readShadows();
    if (this.options.canaryIntervalMs > 0) this.tryCapture();
  }

  private sweepSnapshots(): void {
    const sweep = this.tasks.start({
      name: 'sweep snapshots',
      run: (signal) => this.snapshots.run(signal),
      waitMs: (isComplete) => (isComplete === false ? MINUTE_MS : HOUR_MS),
      failure: 'snapshots could not be swept',
    });
    this.store.onFull = () => sweep.runIn(this.snapshots.expectFull());
    this.store.onGrown = () => sweep.runIn(this.snapshots.expectGrowth());
  }

  private sweepAudit(): void {
    this.tasks.start({
      name: 'sweep audit',
      run: (signal) => this.audit.sweep(signal),
      waitMs: 5 * MINUTE_MS,
      failure: 'the audit could not be swept',
    });
  }

  private reloadCertificate(): void {
    this.tasks.start({
      name: 'reload certificate',
      run: () => this.certificate.reload(),
      waitMs: CERTIFICATE_CHECK_MS,
      failure: 'whether the certificate has changed could not be found out',
    });
  }

  private readShadows(): void {
    this.tasks.start({
      name: 'read due shadows',
      run: (signal) => this.shadowReads.readDue(signal),
      firstWaitMs: 5 * MINUTE_MS,
      waitMs: HOUR_MS,
      failure: 'due shadow reads could not be looked up',
    });
    const sampled = this.tasks.start({
      name: 'read sampled shadow',
      run: (signal) => this.shadowReads.compareSampled(signal),
      firstWaitMs: ON_DEMAND,
      waitMs: ON_DEMAND,
      failure: 'a shadow read failed',
    });
    this.shadowReads.onSampled = () => sampled.runIn(0);
  }

  private tryCapture(): void {
    this.tasks.start({
      name: 'try capture',
      run: (signal) => this.canary.tryAll(signal),
      waitMs: () => this.options.canaryIntervalMs * (1 + CANARY_JITTER * (2 * Math.random() - 1)),
      failure: 'whether changes are captured could not be tried',
    });
  }
}
