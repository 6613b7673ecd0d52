import { Inject, Injectable } from '@nestjs/common';
import { type Manifest, WaypostError } from '@waypost/contracts';
import { faultPoint, noteIds, toWaypostError, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { AckOutbox } from '../acks/ack-outbox.js';
import { SyncLog } from '../audit/sync-log.js';
import { CentralCircuit } from '../central/central-circuit.js';
import { CentralClient } from '../central/central-client.js';
import { shuttingDown } from '../central/stoppable.js';
import { CONFIG, type EdgeConfig } from '../config.js';
import { LiveDownload } from '../download/live-download.js';
import { tablesWithKeptRows } from '../state/kept-rows.js';
import { type AppliedState, MirrorState } from '../state/mirror-state.js';
import { checkManifest, openOwnManifest } from './check-manifest.js';
import { CompareMirror, outcomesOf, type Plan } from './compare-mirror.js';
import type { Applied, Cycle } from './cycle.js';
import { CycleSteps } from './cycle-steps.js';
import { FirstSync } from './first-sync.js';
import { type Recorder, ReplaceTables } from './replace-tables.js';

/** Central hears of the commit: it must outlive a power cut, whatever the device's server is set to. */
const COMMIT_DURABLY = "SELECT set_config('synchronous_commit', 'local', true) WHERE current_setting('synchronous_commit') = 'off'";

/** The steps of one sync, in order. It has the cycle lock's connection for itself. */
@Injectable()
export class SyncCycle {
  constructor(
    @Inject(CONFIG) private readonly config: EdgeConfig,
    private readonly central: CentralClient,
    private readonly circuit: CentralCircuit,
    private readonly firstSync: FirstSync,
    private readonly replacing: ReplaceTables,
    private readonly state: MirrorState,
    private readonly audit: SyncLog,
    private readonly acks: AckOutbox,
    private readonly mirror: CompareMirror,
    private readonly steps: CycleSteps,
  ) {}

  async run(cycle: Cycle, client: pg.PoolClient): Promise<Applied> {
    await this.begin(cycle);
    try {
      await this.sendAcks(cycle);
      const applied = await this.sync(cycle, client);
      if (applied.acknowledge) await this.acknowledge(cycle);
      return applied;
    } catch (thrown) {
      const error = cycle.stop.aborted && !(thrown instanceof WaypostError) ? shuttingDown() : toWaypostError(thrown);
      await this.recordFailure(cycle, error);
      throw error;
    }
  }

  /** A manifest that turns out to be stale is replaced by a new one, once. */
  private async sync(cycle: Cycle, client: pg.PoolClient): Promise<Applied> {
    try {
      return await this.syncOnce(cycle, client);
    } catch (error) {
      if (!(error instanceof WaypostError) || error.heals !== 'resnapshot') throw error;
      cycle.log.warn({ err: error, manifestId: cycle.progress.manifestId }, 'asking for a new manifest');
      return this.syncOnce(cycle, client);
    }
  }

  private async syncOnce(cycle: Cycle, client: pg.PoolClient): Promise<Applied> {
    const { manifest, before } = await this.steps.run(cycle, 'request', {}, () => this.requestManifest(cycle));
    if (manifest instanceof LiveDownload) return this.syncLive(cycle, client, manifest);
    await faultPoint('edge.manifest-checked');
    return this.apply(cycle, client, manifest, before);
  }

  private async apply(cycle: Cycle, client: pg.PoolClient, manifest: Manifest, before: AppliedState | undefined): Promise<Applied> {
    const plan = await this.steps.run(cycle, 'compare', { tables: manifest.tables.length }, () =>
      this.mirror.compare(cycle, client, manifest, before),
    );
    return plan.changed.length === 0 ? this.confirm(cycle, client, plan) : this.replacing.run(cycle, client, plan, this.record);
  }

  /** A device that holds nothing yet gets the rows with it, if central finds that useful. */
  private async syncLive(cycle: Cycle, client: pg.PoolClient, live: LiveDownload): Promise<Applied> {
    let outcome;
    {
      await using download = live;
      outcome = await this.firstSync.run(cycle, client, download, {
        accept: (received) => this.accept(cycle, received, undefined, download.centralTime),
        record: this.record,
      });
    }
    if (!('applied' in outcome))
      return outcome.manifest ? this.apply(cycle, client, outcome.manifest, undefined) : this.syncOnce(cycle, client);
    return outcome.applied;
  }

  private async requestManifest(cycle: Cycle): Promise<{ manifest: Manifest | LiveDownload; before: AppliedState | undefined }> {
    const { stop } = cycle;
    const before = await this.state.findApplied();
    const live = before || !this.firstSync.isWorthTrying ? undefined : await this.requestLive(cycle);
    if (live instanceof LiveDownload) return { manifest: live, before };
    const have = before && { epoch: before.epoch, sequence: before.sequence, manifestId: before.manifestId };
    const { manifest, centralTime } = live ?? (await this.circuit.run(() => this.central.requestManifest(have, stop), stop));
    await faultPoint('edge.request-answered');
    return { manifest: this.accept(cycle, manifest, before, centralTime), before };
  }

  private async requestLive(cycle: Cycle) {
    const { stop } = cycle;
    const answer = await this.circuit.run(() => this.central.requestLive(stop), stop);
    if (!('live' in answer)) return answer;
    await faultPoint('edge.request-answered');
    return this.firstSync.open(answer, cycle);
  }

  /** @throws WaypostError when this device must not apply it */
  private accept({ progress, log }: Cycle, received: unknown, before: AppliedState | undefined, centralTime: Date | undefined): Manifest {
    const manifest = openOwnManifest(received, this.config.DEVICE_MAC);
    Object.assign(progress, { manifestId: manifest.manifestId, epoch: manifest.epoch, sequence: manifest.sequence });
    noteIds({ manifestId: manifest.manifestId });
    checkManifest(manifest, { schemaVersion: this.config.SCHEMA_VERSION, applied: before, centralTime });
    if (before && before.epoch !== manifest.epoch) {
      log.warn(
        { manifestId: manifest.manifestId, from: before.epoch, to: manifest.epoch },
        'central started a new epoch: it was restored or replaced',
      );
    }
    return manifest;
  }

  /** The device holds what the manifest says already: only that is written down. */
  private async confirm(cycle: Cycle, client: pg.PoolClient, plan: Plan): Promise<Applied> {
    const acknowledge = plan.manifest.manifestId !== plan.before?.manifestId;
    const applied: Applied = { status: 'Unchanged', tables: outcomesOf(plan), rowsLoaded: 0, rawBytes: 0, acknowledge };
    await this.steps.run(cycle, 'confirm', {}, async () =>
      (await tablesWithKeptRows(client)).size > 0
        ? this.replacing.load(cycle, client, plan, applied, { record: this.record })
        : withTransaction(client, 'READ WRITE', () => this.record(cycle, client, plan, applied)),
    );
    return applied;
  }

  /** The last statements of the transaction: audit, state and ack become true together with the rows. */
  private readonly record: Recorder = async ({ cycleId, elapsedMs, progress }, client, plan, applied) => {
    const { manifest, before, changed, rehashed } = plan;
    await client.query(COMMIT_DURABLY);
    await this.state.record(client, manifest, before, [...changed, ...rehashed]);
    await this.audit.finishWith(client, {
      cycleId,
      status: applied.status,
      durationMs: elapsedMs(),
      manifestId: manifest.manifestId,
      downloadedBytes: progress.downloadedBytes,
      rowsLoaded: applied.rowsLoaded,
      tables: applied.tables,
    });
    if (applied.acknowledge) await this.acks.queueSuccess(client, manifest, elapsedMs());
    await faultPoint('edge.before-commit');
  };

  private async begin({ cycleId, trigger, log }: Cycle): Promise<void> {
    const interrupted = await this.audit.failInterrupted();
    if (interrupted > 0) log.warn({ interrupted }, 'an earlier cycle was interrupted');
    await this.audit.begin(cycleId, trigger);
    await faultPoint('edge.cycle-begun');
  }

  /** @returns how many could not be sent */
  private async sendAcks(cycle: Cycle): Promise<number> {
    const pending = await this.acks.countPending();
    return pending === 0 ? 0 : this.steps.run(cycle, 'acks', { pending }, () => this.acks.send(cycle.stop));
  }

  private async recordFailure(cycle: Cycle, error: WaypostError): Promise<void> {
    const { cycleId, progress, log } = cycle;
    const { manifestId, downloadedBytes } = progress;
    const durationMs = cycle.elapsedMs();
    try {
      const text = `${error.message} Hint: ${error.hint}`;
      const outcome = { cycleId, durationMs, manifestId, downloadedBytes, rowsLoaded: 0, error: { code: error.code, text } };
      // What was committed stays a success, whatever broke then: its ack is in the outbox already.
      if (await this.audit.fail({ ...outcome, status: 'Failed' })) {
        if (manifestId === undefined || !concernsCentral(error)) return;
        await this.acks.queueFailure(manifestId, error, durationMs);
      }
      await this.acknowledge(cycle);
    } catch (cause) {
      log.warn({ err: cause }, 'the failure could not be written down');
    }
  }

  /** Its failure changes nothing: the ack is in the database, and the next cycle sends it. */
  private async acknowledge(cycle: Cycle): Promise<void> {
    cycle.progress.ack = 'queued';
    try {
      if ((await this.sendAcks(cycle)) === 0) cycle.progress.ack = 'sent';
    } catch (error) {
      cycle.log.warn({ err: error }, 'the ack stays queued');
    }
  }
}

/** Central hears of failures that it does not know of already. */
function concernsCentral({ code, heals }: WaypostError): boolean {
  const unheard = [
    'CENTRAL_UNREACHABLE',
    'CENTRAL_REFUSED',
    'CENTRAL_BUSY',
    'TRANSFER_STALLED',
    'DEADLINE_EXCEEDED',
    'SHUTTING_DOWN',
    'DATABASE_UNAVAILABLE',
    'DATABASE_READ_ONLY',
  ];
  return heals !== 'resnapshot' && !unheard.includes(code);
}
