import { Injectable } from '@nestjs/common';
import type { ManifestTable } from '@waypost/contracts';
import type pg from 'pg';
import { shuttingDown } from '../central/race-abort.js';
import { type Download, Downloads } from '../download/downloads.js';
import { Following } from '../chunk-source/tail-reader.js';
import type { FrameSource } from '../load/copy-data.js';
import { LoadTransaction } from '../load/load-transaction.js';
import { outcomesOf, type Plan } from './compare-mirror.js';
import type { Applied, Cycle } from '../phase/cycle.js';
import { CycleSteps } from '../phase/cycle-steps.js';

/** The last statements of the transaction: what must be true together with the rows. */
export type Recorder = (cycle: Cycle, client: pg.ClientBase, plan: Plan, applied: Applied) => Promise<void>;

interface LoadParts {
  record: Recorder;
  /** All that is loaded is on disk, and counted. */
  whenArrived?: (() => Promise<void>) | undefined;
}

/** Brings the tables that differ: download, load, verify, commit. */
@Injectable()
export class ReplaceTables {
  constructor(
    private readonly downloads: Downloads,
    private readonly loading: LoadTransaction,
    private readonly steps: CycleSteps,
  ) {}

  async run(cycle: Cycle, client: pg.PoolClient, plan: Plan, record: Recorder): Promise<Applied> {
    const { manifest, changed } = plan;
    const facts = { tables: changed.map(({ name }) => name), streamBytes: sum(changed, (table) => table.streamBytes) };
    const count = (bytes: number): void => void (cycle.progress.downloadedBytes += bytes);
    await using download = await this.downloads.open(manifest, changed, cycle.stop, count);
    const arrival = this.steps.download(cycle, facts, () => download.run());
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
      applied.tables = outcomesOf(plan, download.receivedBytes);
    };
    const isLoaded = plan.allNew && (await this.loadOnArrival(cycle, client, plan, applied, { download, arrival, whenArrived, record }));
    if (!isLoaded) {
      await whenArrived();
      await this.load(cycle, client, plan, applied, { spooled: download.byTable, record });
    }
    await this.clearDownloads(cycle);
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
    { download, arrival, whenArrived, record }: LoadParts & { download: Download; arrival: Promise<void> },
  ): Promise<boolean> {
    const following = new Following(arrival);
    const spooled = new Map([...download.byTable].map(([name, table]) => [name, following.table(table)]));
    try {
      await this.load(cycle, client, plan, applied, { spooled, whenArrived, record });
      return true;
    } catch (error) {
      if (!following.gaveUp) {
        // What has come by then is not asked for again.
        await arrival.catch(() => undefined);
        throw error;
      }
      cycle.log.info({ manifestId: plan.manifest.manifestId, reason: (error as Error).message }, 'the load waits for the whole download');
      return false;
    }
  }

  private async clearDownloads({ log }: Cycle): Promise<void> {
    await this.downloads.clear().catch((error: unknown) => log.warn({ err: error }, 'loaded chunk streams could not be removed'));
  }

  /** Loads, verifies and writes down `plan.changed`; also looks through the rows that earlier cycles kept. */
  async load(
    cycle: Cycle,
    client: pg.PoolClient,
    plan: Plan,
    applied: Applied,
    { spooled = new Map(), whenArrived, record }: LoadParts & { spooled?: ReadonlyMap<string, FrameSource> },
  ): Promise<void> {
    await this.loading.run(client, {
      shape: plan.manifest,
      tables: plan.changed,
      spooled,
      settle: async () => {
        await whenArrived?.();
        return plan.manifest.tables;
      },
      record: (transaction) => record(cycle, transaction, plan, applied),
      step: (name, facts, work) => this.steps.run(cycle, name, facts, work),
      signal: cycle.cut,
    });
  }
}

function sum(tables: readonly ManifestTable[], value: (table: ManifestTable) => number): number {
  return tables.reduce((total, table) => total + value(table), 0);
}
