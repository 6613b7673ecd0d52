import { Inject, Injectable } from '@nestjs/common';
import { type ManifestTable, WaypostError } from '@waypost/contracts';
import { faultPoint, noteIds, toWaypostError, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { AckOutbox } from '../acks/ack-outbox.js';
import { SyncLog, type TableOutcome } from '../audit/sync-log.js';
import { CentralCircuit } from '../central/central-circuit.js';
import { CentralClient } from '../central/central-client.js';
import { shuttingDown } from '../central/stoppable.js';
import { CONFIG, type EdgeConfig } from '../config.js';
import { type Download, Downloads } from '../download/downloads.js';
import { Following } from '../download/followed-table.js';
import type { FrameSource } from '../load/copy-data.js';
import { LoadTransaction } from '../load/load-transaction.js';
import { tablesWithKeptRows } from '../state/kept-rows.js';
import { MirrorState } from '../state/mirror-state.js';
import { checkManifest, openOwnManifest } from './check-manifest.js';
import { CompareMirror, type Plan } from './compare-mirror.js';
import type { Applied, Cycle } from './cycle.js';
import { CycleSteps } from './cycle-steps.js';

/** Central hears of the commit: it must outlive a power cut, whatever the device's server is set to. */
const COMMIT_DURABLY = "SELECT set_config('synchronous_commit', 'local', true) WHERE current_setting('synchronous_commit') = 'off'";

/** The steps of one sync, in order. It has the cycle lock's connection for itself. */
@Injectable()
export class SyncCycle {
  constructor(
    @Inject(CONFIG) private readonly config: EdgeConfig,
    private readonly central: CentralClient,
    private readonly circuit: CentralCircuit,
    private readonly downloads: Downloads,
    private readonly loading: LoadTransaction,
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
    const plan = await this.steps.run(cycle, 'compare', { tables: manifest.tables.length }, () =>
      this.mirror.compare(cycle, client, manifest, before),
    );
    return plan.changed.length === 0 ? this.confirm(cycle, client, plan) : this.replace(cycle, client, plan);
  }

  private async requestManifest({ progress, stop, log }: Cycle) {
    const before = await this.state.findApplied();
    const have = before && { epoch: before.epoch, sequence: before.sequence, manifestId: before.manifestId };
    const { manifest: received, centralTime } = await this.circuit.run(() => this.central.requestManifest(have, stop), stop);
    await faultPoint('edge.request-answered');
    const manifest = openOwnManifest(received, this.config.DEVICE_MAC);
    Object.assign(progress, { manifestId: manifest.manifestId, epoch: manifest.epoch, sequence: manifest.sequence });
    noteIds({ manifestId: manifest.manifestId });
    checkManifest(manifest, { schemaVersion: this.config.SCHEMA_VERSION, applied: before, centralTime });
    await faultPoint('edge.manifest-checked');
    if (before && before.epoch !== manifest.epoch) {
      log.warn(
        { manifestId: manifest.manifestId, from: before.epoch, to: manifest.epoch },
        'central started a new epoch: it was restored or replaced',
      );
    }
    return { manifest, before };
  }

  /** The device holds what the manifest says already: only that is written down. */
  private async confirm(cycle: Cycle, client: pg.PoolClient, plan: Plan): Promise<Applied> {
    const acknowledge = plan.manifest.manifestId !== plan.before?.manifestId;
    const applied: Applied = { status: 'Unchanged', tables: outcomes(plan), rowsLoaded: 0, rawBytes: 0, acknowledge };
    await this.steps.run(cycle, 'confirm', {}, async () =>
      (await tablesWithKeptRows(client)).size > 0
        ? this.load(cycle, client, plan, applied, { spooled: new Map() })
        : withTransaction(client, 'READ WRITE', () => this.record(cycle, client, plan, applied)),
    );
    return applied;
  }

  private async replace(cycle: Cycle, client: pg.PoolClient, plan: Plan): Promise<Applied> {
    const { manifest, changed } = plan;
    const facts = { tables: changed.map(({ name }) => name), streamBytes: sum(changed, (table) => table.streamBytes) };
    const count = (bytes: number): void => void (cycle.progress.downloadedBytes += bytes);
    await using download = await this.downloads.open(manifest, changed, cycle.stop, count);
    const arrival = this.steps.run(cycle, 'download', facts, () => download.run()).then(() => faultPoint('edge.download-complete'));
    arrival.catch(() => undefined); // whoever waits for it hears of it
    const applied: Applied = {
      status: 'Success',
      tables: [],
      rowsLoaded: sum(changed, (table) => table.rowCount),
      rawBytes: sum(changed, (table) => table.rawBytes),
      acknowledge: true,
    };
    const whenArrived = async (): Promise<void> => {
      await arrival;
      if (cycle.stop.aborted) throw shuttingDown();
      applied.tables = outcomes(plan, download.receivedBytes);
    };
    const isLoaded = plan.allNew && (await this.loadOnArrival(cycle, client, plan, applied, { download, arrival, whenArrived }));
    if (!isLoaded) {
      await whenArrived();
      await this.load(cycle, client, plan, applied, { spooled: download.byTable });
    }
    await faultPoint('edge.after-commit');
    await this.downloads.clear().catch((error: unknown) => cycle.log.warn({ err: error }, 'loaded chunk streams could not be removed'));
    return applied;
  }

  /**
   * Loads tables that are new here while they arrive, which takes as long as the slower of both. On a slow link it gives up before long: no transaction
   * shall last as long as such a download.
   * @returns false when the load has to be done anew, once all is there
   */
  private async loadOnArrival(
    cycle: Cycle,
    client: pg.PoolClient,
    plan: Plan,
    applied: Applied,
    { download, arrival, whenArrived }: { download: Download; arrival: Promise<void>; whenArrived: () => Promise<void> },
  ): Promise<boolean> {
    const following = new Following(arrival);
    const spooled = new Map([...download.byTable].map(([name, table]) => [name, following.table(table)]));
    try {
      await this.load(cycle, client, plan, applied, { spooled, whenArrived });
      return true;
    } catch (error) {
      if (!following.gaveUp) throw error;
      cycle.log.info({ manifestId: plan.manifest.manifestId, reason: (error as Error).message }, 'the load waits for the whole download');
      return false;
    }
  }

  private async load(
    cycle: Cycle,
    client: pg.PoolClient,
    plan: Plan,
    applied: Applied,
    { spooled, whenArrived }: { spooled: ReadonlyMap<string, FrameSource>; whenArrived?: () => Promise<void> },
  ): Promise<void> {
    await this.loading.run(client, {
      manifest: plan.manifest,
      tables: plan.changed,
      spooled,
      record: async () => {
        await whenArrived?.();
        await this.record(cycle, client, plan, applied);
      },
      step: (name, facts, work) => this.steps.run(cycle, name, facts, work),
      signal: cycle.cut,
    });
  }

  /** The last statements of the transaction: audit, state and ack become true together with the rows. */
  private async record({ cycleId, elapsedMs, progress }: Cycle, client: pg.ClientBase, plan: Plan, applied: Applied): Promise<void> {
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
  }

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

function outcomes({ manifest, changed }: Plan, receivedBytes?: ReadonlyMap<string, number>): TableOutcome[] {
  return manifest.tables.map((table) => ({
    name: table.name,
    rowCount: table.rowCount,
    sha256: table.sha256,
    action: changed.includes(table) ? 'loaded' : 'unchanged',
    downloadedBytes: receivedBytes?.get(table.name) ?? 0,
  }));
}

function sum(tables: readonly ManifestTable[], value: (table: ManifestTable) => number): number {
  return tables.reduce((total, table) => total + value(table), 0);
}
