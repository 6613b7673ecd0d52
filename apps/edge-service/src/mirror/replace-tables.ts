import { Injectable } from '@nestjs/common';
import type { ManifestTable, WaypostError } from '@waypost/contracts';
import { pinSession, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { shuttingDown } from '../central/race-abort.js';
import { type Download, Downloads } from '../download/downloads.js';
import { TailReader } from '../chunk-source/tail-reader.js';
import type { ChunkSource } from '../chunk-source/chunk-source.js';
import type { ChangeSource } from '../chunk-source/change-source.js';
import { ChangesUnproven, isUnusableChange, MirrorDrifted } from '../load/stage-changes.js';
import { findDrift } from '../verify/find-drift.js';
import type { VerifiedTable } from '../verify/verify-table.js';
import { LoadTransaction } from '../load/load-transaction.js';
import { type MirrorDiff, outcomesOf } from './compare-mirror.js';
import { RecordSuccess } from './record-success.js';
import type { Applied, Cycle } from '../phase/cycle.js';
import { CycleSteps } from '../phase/cycle-steps.js';

interface LoadParts {
  spooled?: ReadonlyMap<string, ChunkSource>;
  changes?: ReadonlyMap<string, ChangeSource>;
  /** Settles when all that is loaded is on disk, and counted. */
  whenArrived?: () => Promise<void>;
}

/** Replaces the tables that differ: download, load, verify, commit. */
@Injectable()
export class ReplaceTables {
  constructor(
    private readonly downloads: Downloads,
    private readonly loading: LoadTransaction,
    private readonly recording: RecordSuccess,
    private readonly steps: CycleSteps,
  ) {}

  /** @throws MirrorDrifted where a table is to be read again, since its rows are not those that were verified last */
  async run(cycle: Cycle, client: pg.PoolClient, diff: MirrorDiff): Promise<Applied> {
    try {
      return await this.replace(cycle, client, diff);
    } catch (failure) {
      const error = failure instanceof ChangesUnproven ? await this.explain(client, failure) : failure;
      if (diff.bases.size === 0 || cycle.stop.aborted || !isUnusableChange(error)) throw error;
      // What was just read and drifted at once is not read once more.
      if (error instanceof MirrorDrifted && diff.bases.get(error.table)?.chunks === undefined) throw error;
      cycle.log.warn(
        { err: error, tables: [...diff.bases.keys()] },
        'deltas do not lead to what the manifest says: the tables are downloaded whole',
      );
      const why = `its delta could not be applied: ${error.code}: ${error.detail ?? error.message}`;
      const reasons = new Map([...diff.reasons, ...[...diff.bases.keys()].map((name) => [name, why] as const)]);
      return await this.replace(cycle, client, { ...diff, bases: new Map(), reasons });
    }
  }

  /** Changes lead elsewhere where rows beside them were altered. */
  private async explain(client: pg.PoolClient, error: ChangesUnproven): Promise<WaypostError> {
    const { source, held, runs } = error.staged;
    const { drifted } = await withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
      await pinSession(client);
      return findDrift(client, source, held, { runs });
    });
    if (drifted.length === 0) return error;
    const why = `${drifted.length} of ${held.index.length} chunks have other rows than when they were last verified`;
    return new MirrorDrifted(error.table.name, why, drifted.length);
  }

  private async replace(cycle: Cycle, client: pg.PoolClient, diff: MirrorDiff): Promise<Applied> {
    const { manifest, changed, bases } = diff;
    const facts = { tables: changed.map(({ name }) => name), streamBytes: sum(changed, (table) => table.streamBytes) };
    const count = (bytes: number): void => void (cycle.progress.downloadedBytes += bytes);
    await using download = await this.downloads.open(manifest, { tables: changed, bases }, cycle.stop, count);
    const arrival = this.steps.download(cycle, facts, () => download.run());
    arrival.catch(() => undefined); // reported by `whenArrived` and the load
    const applied: Applied = {
      status: 'Success',
      tables: [],
      rowsLoaded: sum(changed, (table) => table.rowCount),
      rawBytes: sum(changed, (table) => table.rawBytes),
      acknowledge: true,
      manifest,
    };
    const whenArrived = async (): Promise<void> => {
      await arrival;
      if (cycle.stop.aborted) throw shuttingDown();
      applied.tables = outcomesOf(diff, download);
    };
    const isLoaded = diff.allNew && (await this.loadOnArrival(cycle, client, diff, applied, { download, arrival, whenArrived }));
    if (!isLoaded) {
      await whenArrived();
      await this.load(cycle, client, diff, applied, { spooled: download.byTable, changes: download.deltas });
    }
    await this.clearDownloads(cycle);
    return applied;
  }

  /**
   * Loads new tables while they arrive, which takes as long as the slower of both. On a slow link it gives up soon: no transaction
   * may last as long as such a download.
   * @returns false when the load must start again, after the download
   */
  private async loadOnArrival(
    cycle: Cycle,
    client: pg.PoolClient,
    diff: MirrorDiff,
    applied: Applied,
    { download, arrival, whenArrived }: { download: Download; arrival: Promise<void>; whenArrived: () => Promise<void> },
  ): Promise<boolean> {
    const tail = new TailReader(arrival);
    const spooled = new Map([...download.byTable].map(([name, table]) => [name, tail.read(table)]));
    try {
      await this.load(cycle, client, diff, applied, { spooled, whenArrived });
      return true;
    } catch (error) {
      if (!tail.timedOut) {
        // The download goes on: the next cycle resumes from what is on disk.
        await arrival.catch(() => undefined);
        throw error;
      }
      cycle.log.info(
        { manifestId: diff.manifest.manifestId, reason: (error as Error).message },
        'load aborted: it starts again after the download',
      );
      return false;
    }
  }

  private async clearDownloads({ log }: Cycle): Promise<void> {
    await this.downloads.clear().catch((error: unknown) => log.warn({ err: error }, 'loaded chunk streams could not be removed'));
  }

  /** Loads, verifies and records `diff.changed`; also removes retained rows that are no longer referenced. */
  async load(
    cycle: Cycle,
    client: pg.PoolClient,
    diff: MirrorDiff,
    applied: Applied,
    { spooled = new Map(), changes = new Map(), whenArrived }: LoadParts = {},
  ): Promise<void> {
    await this.loading.run(client, {
      cycleId: cycle.cycleId,
      shape: diff.manifest,
      tables: diff.changed,
      schema: diff.schema,
      spooled,
      changes,
      settle: async () => {
        await whenArrived?.();
        return diff.manifest.tables;
      },
      record: (transaction, read) => {
        countChanges(applied, diff, read);
        return this.recording.run(cycle, transaction, diff, applied, read);
      },
      step: (name, facts, work) => this.steps.run(cycle, name, facts, work),
      signal: cycle.forceStop,
    });
  }
}

/** Of tables of which only changes came, no more counts as loaded. */
function countChanges(applied: Applied, { changed }: MirrorDiff, read: ReadonlyMap<string, VerifiedTable>): void {
  if (applied.status !== 'Success') return;
  applied.rowsLoaded = sum(changed, ({ name, rowCount }) => read.get(name)?.changed?.rows ?? rowCount);
  applied.rawBytes = sum(changed, ({ name, rawBytes }) => read.get(name)?.changed?.rawBytes ?? rawBytes);
}

function sum(tables: readonly ManifestTable[], value: (table: ManifestTable) => number): number {
  return tables.reduce((total, table) => total + value(table), 0);
}
