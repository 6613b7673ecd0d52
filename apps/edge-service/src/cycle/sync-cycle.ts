import { Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { queryPrepared, faultPoint, newId, statementOf, toWaypostError, traced, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { type AckCounts, AckOutbox } from '../acks/ack-outbox.js';
import { outcomeParameters, SyncLog, tableParameters } from '../audit/sync-log.js';
import { shuttingDown } from '../central/race-abort.js';
import { LiveDownload } from '../download/live-download.js';
import { tablesWithKeptRows } from '../state/retained-rows.js';
import { type AppliedState, appliedOf, MirrorState } from '../state/mirror-state.js';
import { CompareMirror, outcomesOf, type Plan } from '../mirror/compare-mirror.js';
import { COMMIT_DURABLY, CONFIRM_CYCLE, OPEN_CYCLE } from '../mirror/mirror.sql.js';
import type { Applied, Cycle } from '../phase/cycle.js';
import { CycleSteps } from '../phase/cycle-steps.js';
import { FirstSync } from '../mirror/first-sync.js';
import { type Recorder, ReplaceTables } from '../mirror/replace-tables.js';
import { type Asked, RequestManifest } from '../mirror/request-manifest.js';

/** The row of OPEN_CYCLE. */
interface OpenedCycle extends AckCounts {
  interrupted: number;
  state: Record<string, string> | null;
}

/** The steps of one sync, in order. It has the cycle lock's connection for itself. */
@Injectable()
export class SyncCycle {
  constructor(
    private readonly request: RequestManifest,
    private readonly firstSync: FirstSync,
    private readonly replacing: ReplaceTables,
    private readonly state: MirrorState,
    private readonly audit: SyncLog,
    private readonly acks: AckOutbox,
    private readonly mirror: CompareMirror,
    private readonly steps: CycleSteps,
  ) {}

  /** @param isReplaced the database is another one than in the cycle before, or lost Waypost's tables */
  async run(cycle: Cycle, client: pg.PoolClient, isReplaced: boolean): Promise<Applied> {
    if (isReplaced) await this.recordReplacement(cycle);
    const { applied: before, pendingAcks } = await this.begin(cycle, client);
    try {
      if (pendingAcks > 0) await this.sendAcks(cycle);
      const applied = await this.sync(cycle, client, before);
      if (applied.acknowledge) await this.acknowledge(cycle);
      return applied;
    } catch (thrown) {
      const error = cycle.stop.aborted && !(thrown instanceof WaypostError) ? shuttingDown() : toWaypostError(thrown);
      await this.recordFailure(cycle, error);
      throw error;
    }
  }

  /** A manifest that turns out to be stale is replaced by a new one, once. */
  private async sync(cycle: Cycle, client: pg.PoolClient, before: AppliedState | undefined): Promise<Applied> {
    try {
      return await this.syncOnce(cycle, client, before);
    } catch (error) {
      if (!(error instanceof WaypostError) || error.heals !== 'resnapshot') throw error;
      cycle.log.warn({ err: error, manifestId: cycle.progress.manifestId }, 'asking for a new manifest');
      return this.syncOnce(cycle, client, before);
    }
  }

  private async syncOnce(cycle: Cycle, client: pg.PoolClient, before: AppliedState | undefined): Promise<Applied> {
    const asked = await this.steps.run(cycle, 'request', {}, () => this.request.manifest(cycle, client, before));
    if (asked instanceof LiveDownload) return this.syncLive(cycle, client, asked);
    return this.apply(cycle, client, asked, before);
  }

  private async apply(
    cycle: Cycle,
    client: pg.PoolClient,
    { manifest, isHeld }: Asked,
    before: AppliedState | undefined,
  ): Promise<Applied> {
    const plan = await this.steps.run(cycle, 'compare', { tables: manifest.tables.length }, () =>
      this.mirror.compare(cycle, client, manifest, before),
    );
    if (isHeld && plan.isUntouched) return this.confirmHeld(cycle, client, plan);
    return plan.changed.length === 0 ? this.confirm(cycle, client, plan) : this.replacing.run(cycle, client, plan, this.record);
  }

  /** A device that holds nothing yet gets the rows with it, if central finds that useful. */
  private async syncLive(cycle: Cycle, client: pg.PoolClient, live: LiveDownload): Promise<Applied> {
    let outcome;
    {
      await using download = live;
      outcome = await this.firstSync.run(cycle, client, download, {
        accept: (received) => this.request.accept(cycle, received, undefined, download.centralTime),
        record: this.record,
      });
    }
    if ('applied' in outcome) return outcome.applied;
    const { manifest } = outcome;
    return manifest ? this.apply(cycle, client, { manifest, isHeld: false }, undefined) : this.syncOnce(cycle, client, undefined);
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

  /** Nothing came, nothing was touched here, nothing is to be acknowledged. */
  private async confirmHeld(cycle: Cycle, client: pg.PoolClient, plan: Plan): Promise<Applied> {
    const { cycleId, elapsedMs, progress } = cycle;
    const applied = { status: 'Unchanged', tables: outcomesOf(plan), rowsLoaded: 0, rawBytes: 0, acknowledge: false, keptRows: 0 } as const;
    const commit = { attributes: statementOf(CONFIRM_CYCLE) };
    await this.steps.run(cycle, 'confirm', {}, () =>
      traced('commit', commit, () =>
        queryPrepared(client, 'confirm', CONFIRM_CYCLE, [
          ...outcomeParameters({ ...applied, ...progress, cycleId, manifestId: plan.manifest.manifestId, durationMs: elapsedMs() }),
          ...tableParameters(applied.tables),
          new Date().toISOString(),
        ]),
      ),
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

  /** The device may have become a new one: the audit says why. */
  private async recordReplacement({ startedAt, trigger, log }: Cycle): Promise<void> {
    this.firstSync.forget();
    const error = new WaypostError('DATABASE_REPLACED');
    log.warn({ err: error }, 'the database was replaced: Waypost made its tables again');
    const outcome = { cycleId: newId(), startedAt, trigger, durationMs: 0, manifestId: undefined, downloadedBytes: 0, rowsLoaded: 0 };
    await this.audit.fail({ ...outcome, status: 'Failed', error: { code: error.code, text: error.message } });
  }

  private async begin({ cycleId, trigger, log }: Cycle, client: pg.PoolClient) {
    await this.audit.writeDown();
    const [opened] = await queryPrepared<OpenedCycle>(client, 'open', OPEN_CYCLE, [cycleId, trigger]);
    const { interrupted, state, ...acks } = opened as OpenedCycle;
    if (interrupted > 0) log.warn({ interrupted }, 'an earlier cycle was interrupted');
    const pendingAcks = this.acks.counted(acks);
    await faultPoint('edge.cycle-begun');
    return { applied: appliedOf(state), pendingAcks };
  }

  /** @returns how many could not be sent */
  private async sendAcks(cycle: Cycle): Promise<number> {
    const pending = await this.acks.countPending();
    return pending === 0 ? 0 : this.steps.run(cycle, 'acks', { pending }, () => this.acks.send(cycle.stop));
  }

  private async recordFailure(cycle: Cycle, error: WaypostError): Promise<void> {
    const { cycleId, startedAt, trigger, progress, log } = cycle;
    const { manifestId, downloadedBytes } = progress;
    const durationMs = cycle.elapsedMs();
    try {
      const text = `${error.message} Hint: ${error.hint}`;
      const outcome = {
        cycleId,
        startedAt,
        trigger,
        durationMs,
        manifestId,
        downloadedBytes,
        rowsLoaded: 0,
        error: { code: error.code, text },
      };
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
