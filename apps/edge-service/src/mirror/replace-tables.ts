import { Injectable } from '@nestjs/common';
import type { ManifestTable } from '@waypost/contracts';
import type pg from 'pg';
import { shuttingDown } from '../central/race-abort.js';
import { type Download, Downloads } from '../download/downloads.js';
import { TailReader } from '../chunk-source/tail-reader.js';
import type { ChunkSource } from '../chunk-source/chunk-source.js';
import { LoadTransaction } from '../load/load-transaction.js';
import { type MirrorDiff, outcomesOf } from './compare-mirror.js';
import { RecordSuccess } from './record-success.js';
import type { Applied, Cycle } from '../phase/cycle.js';
import { CycleSteps } from '../phase/cycle-steps.js';

interface LoadParts {
  spooled?: ReadonlyMap<string, ChunkSource>;
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

  async run(cycle: Cycle, client: pg.PoolClient, diff: MirrorDiff): Promise<Applied> {
    const { manifest, changed } = diff;
    const facts = { tables: changed.map(({ name }) => name), streamBytes: sum(changed, (table) => table.streamBytes) };
    const count = (bytes: number): void => void (cycle.progress.downloadedBytes += bytes);
    await using download = await this.downloads.open(manifest, changed, cycle.stop, count);
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
      applied.tables = outcomesOf(diff, download.receivedBytes);
    };
    const isLoaded = diff.allNew && (await this.loadOnArrival(cycle, client, diff, applied, { download, arrival, whenArrived }));
    if (!isLoaded) {
      await whenArrived();
      await this.load(cycle, client, diff, applied, { spooled: download.byTable });
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
    { spooled = new Map(), whenArrived }: LoadParts = {},
  ): Promise<void> {
    await this.loading.run(client, {
      shape: diff.manifest,
      tables: diff.changed,
      spooled,
      settle: async () => {
        await whenArrived?.();
        return diff.manifest.tables;
      },
      record: (transaction) => this.recording.run(cycle, transaction, diff, applied),
      step: (name, facts, work) => this.steps.run(cycle, name, facts, work),
      signal: cycle.forceStop,
    });
  }
}

function sum(tables: readonly ManifestTable[], value: (table: ManifestTable) => number): number {
  return tables.reduce((total, table) => total + value(table), 0);
}
