import { Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { queryPrepared, sqlStateOf, statementOf, traced, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { outcomeParameters, tableParameters } from '../audit/sync-log.js';
import { LiveDownload } from '../download/live-download.js';
import { KeepIndexes } from '../indexes/keep-indexes.js';
import type { SchemaOrder } from '../load/load-order.js';
import type { Applied, Cycle } from '../phase/cycle.js';
import type { CyclePhase, OpenCycle } from '../phase/cycle-phase.js';
import { CycleSteps } from '../phase/cycle-steps.js';
import { MirrorDrifted } from '../load/stage-changes.js';
import { Metrics } from '../metrics/metrics.js';
import type { AppliedState } from '../state/mirror-state.js';
import { recordDrift } from '../state/record-drift.js';
import { tablesWithRetainedRows } from '../state/retained-rows.js';
import { CompareMirror, type MirrorDiff, outcomesOf } from './compare-mirror.js';
import { FirstSync } from './first-sync.js';
import { CONFIRM_CYCLE } from './mirror.sql.js';
import { RecordSuccess } from './record-success.js';
import { ReplaceTables } from './replace-tables.js';
import { type RequestedManifest, RequestManifest } from './request-manifest.js';

/** Errors of values and of sizes, which an index can cause. */
const ROW_REFUSED = /^(22|54)/;

/** Makes the mirrored tables equal to the manifest that central issues: request, compare, then confirm, or download and load what differs. */
@Injectable()
export class UpdateMirror implements CyclePhase {
  constructor(
    private readonly request: RequestManifest,
    private readonly firstSync: FirstSync,
    private readonly mirror: CompareMirror,
    private readonly replacing: ReplaceTables,
    private readonly recording: RecordSuccess,
    private readonly indexes: KeepIndexes,
    private readonly steps: CycleSteps,
    private readonly metrics: Metrics,
  ) {}

  async run(open: OpenCycle): Promise<void> {
    open.applied = await this.sync(open.cycle, open.client, open.before);
  }

  reset(): void {
    this.firstSync.reset();
    this.mirror.reset();
  }

  /** Once more, with a new manifest where the first one turns out to be stale, without secondary indexes where one of them may be what does not take a row. */
  private async sync(cycle: Cycle, client: pg.PoolClient, before: AppliedState | undefined): Promise<Applied> {
    try {
      return await this.syncOnce(cycle, client, before);
    } catch (error) {
      if (!(error instanceof WaypostError)) throw error;
      if (error instanceof MirrorDrifted) await this.drifted(cycle, client, error);
      else if (error.heals === 'resnapshot')
        cycle.log.warn({ err: error, manifestId: cycle.progress.manifestId }, 'requesting a new manifest');
      else if (!ROW_REFUSED.test(sqlStateOf(error.cause) ?? '') || !(await this.indexes.discard(client, error))) throw error;
      return this.syncOnce(cycle, client, before);
    }
  }

  /** Its rows are read again, so that only the chunks that differ are fetched. */
  private async drifted({ log }: Cycle, client: pg.PoolClient, error: MirrorDrifted): Promise<void> {
    log.error({ err: error, table: error.table }, 'rows of the mirror are not those that were verified last');
    this.metrics.driftedChunks.inc(error.chunks);
    await recordDrift(client, null, { table: error.table, chunks: error.chunks, firstKey: null, lastKey: null });
  }

  private async syncOnce(cycle: Cycle, client: pg.PoolClient, before: AppliedState | undefined): Promise<Applied> {
    const requested = await this.steps.run(cycle, 'request', {}, () => this.request.manifest(cycle, client, before));
    if (requested instanceof LiveDownload) return this.syncLive(cycle, client, requested);
    return this.apply(cycle, client, requested, before);
  }

  private async apply(
    cycle: Cycle,
    client: pg.PoolClient,
    { manifest, isHeld, deltas }: RequestedManifest,
    before: AppliedState | undefined,
  ): Promise<Applied> {
    const diff = await this.steps.run(cycle, 'compare', { tables: manifest.tables.length }, () =>
      this.mirror.compare(cycle, client, manifest, before),
    );
    for (const [name, base] of diff.bases) if (base.manifestId === before?.manifestId) base.delta = deltas?.get(name);
    const isSameKey = cycle.vouched?.signedBy.kid === before?.signedBy?.kid;
    if (isHeld && diff.isUntouched && isSameKey) return this.confirmHeld(cycle, client, diff);
    return diff.changed.length === 0 ? this.confirm(cycle, client, diff) : this.replacing.run(cycle, client, diff);
  }

  /** A device that holds nothing yet gets the rows together with its manifest, where central decides so. */
  private async syncLive(cycle: Cycle, client: pg.PoolClient, live: LiveDownload): Promise<Applied> {
    let outcome;
    {
      await using download = live;
      outcome = await this.firstSync.run(cycle, client, download, (received) =>
        this.request.accept(cycle, { manifest: received, signature: download.signature, centralTime: download.centralTime }, undefined),
      );
    }
    if ('applied' in outcome) return outcome.applied;
    const { manifest } = outcome;
    return manifest ? this.apply(cycle, client, { manifest, isHeld: false }, undefined) : this.syncOnce(cycle, client, undefined);
  }

  /** The device already holds the rows that the manifest says: only that is recorded, and what is to be altered beside them. */
  private async confirm(cycle: Cycle, client: pg.PoolClient, diff: MirrorDiff): Promise<Applied> {
    const acknowledge = diff.manifest.manifestId !== diff.before?.manifestId;
    const applied: Applied = {
      status: diff.schema && altersSomething(diff.schema) ? 'Success' : 'Unchanged',
      tables: outcomesOf(diff),
      rowsLoaded: 0,
      rawBytes: 0,
      acknowledge,
      manifest: diff.manifest,
    };
    await this.steps.run(cycle, 'confirm', {}, async () =>
      diff.schema || (await tablesWithRetainedRows(client)).size > 0
        ? this.replacing.load(cycle, client, diff, applied)
        : withTransaction(client, 'READ WRITE', () => this.recording.run(cycle, client, diff, applied)),
    );
    return applied;
  }

  /** Nothing is new, nothing was changed here, nothing is to be acknowledged. */
  private async confirmHeld(cycle: Cycle, client: pg.PoolClient, diff: MirrorDiff): Promise<Applied> {
    const { cycleId, elapsedMs, progress } = cycle;
    const { manifest } = diff;
    const nothing = { rowsLoaded: 0, rawBytes: 0, acknowledge: false, keptRows: 0 };
    const applied = { ...nothing, status: 'Unchanged', tables: outcomesOf(diff), manifest } as const;
    const commit = { attributes: statementOf(CONFIRM_CYCLE) };
    await this.steps.run(cycle, 'confirm', {}, () =>
      traced('commit', commit, () =>
        queryPrepared(client, 'confirm', CONFIRM_CYCLE, [
          ...outcomeParameters({ ...applied, ...progress, cycleId, manifestId: manifest.manifestId, durationMs: elapsedMs() }),
          ...tableParameters(applied.tables),
          new Date().toISOString(),
        ]),
      ),
    );
    return applied;
  }
}

/** A table that left the plan and stays alters nothing. */
function altersSomething({ alterations, labels, removed, dropsRemoved }: SchemaOrder): boolean {
  return alterations.size + labels.length > 0 || (removed.length > 0 && dropsRemoved);
}
