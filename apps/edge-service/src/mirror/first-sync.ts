import { Inject, Injectable } from '@nestjs/common';
import { canonicalJson, type Draft, type Manifest, type MirrorShape, WaypostError } from '@waypost/contracts';
import { withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import type { LiveAnswer } from '../central/central-client.js';
import { shuttingDown } from '../central/race-abort.js';
import { CONFIG, type EdgeConfig } from '../config.js';
import { Downloads } from '../download/downloads.js';
import { Following } from '../chunk-source/tail-reader.js';
import { LiveDownload } from '../download/live-download.js';
import type { FrameSource } from '../load/copy-data.js';
import { checkCreatable } from '../load/create-tables.js';
import { checkTableNames, inspectMirror } from '../load/inspect-mirror.js';
import { LoadTransaction } from '../load/load-transaction.js';
import { Metrics } from '../metrics/metrics.js';
import type { Plan } from './compare-mirror.js';
import type { Applied, Cycle } from '../phase/cycle.js';
import { CycleSteps } from '../phase/cycle-steps.js';
import type { Recorder } from './replace-tables.js';

/** The cycle's own part. */
interface Ends {
  /** Refuses a manifest that this device must not apply. */
  accept: (received: unknown) => Promise<Manifest>;
  record: Recorder;
}

/** Either all is done, or the manifest says what to download, or it has to be asked for. */
type Outcome = { applied: Applied } | { manifest: Manifest | undefined };

/** Of a stream that broke: what is left is the ordinary way. */
const BROKEN: readonly string[] = ['CENTRAL_UNREACHABLE', 'TRANSFER_STALLED', 'DEADLINE_EXCEEDED', 'CHUNK_CORRUPT'];

/** Of a draft that this database cannot hold. */
const REFUSALS: readonly string[] = ['SCHEMA_MISMATCH', 'MANIFEST_INVALID'];

/**
 * Loads a device's first rows while central still reads them. Nothing is committed before the manifest has come and what is in the database has been proven
 * by it, as ever. Where the live stream is of no use, because the link is slow, or breaks, or tables are there already, the ordinary way is gone.
 */
@Injectable()
export class FirstSync {
  /** It broke once, or tables are there: from then on downloads are such that can be resumed. */
  private wasInVain = false;
  private isTidy = false;

  constructor(
    @Inject(CONFIG) private readonly config: EdgeConfig,
    private readonly downloads: Downloads,
    private readonly loading: LoadTransaction,
    private readonly steps: CycleSteps,
    private readonly metrics: Metrics,
  ) {}

  /** False where an interrupted one has left chunks: only an ordinary download can use them. */
  async isWorthTrying(): Promise<boolean> {
    return !this.wasInVain && !(await this.downloads.hasInterrupted());
  }

  /** For a device that holds something: removes what a success has left when the edge was killed right after its COMMIT. Acts once per process. */
  async tidy({ log }: Cycle): Promise<void> {
    if (this.isTidy) return;
    this.isTidy = true;
    await this.downloads
      .removeInterrupted()
      .catch((error: unknown) => log.warn({ err: error }, 'chunks of an interrupted live stream could not be removed'));
  }

  /** Of a database that was replaced. */
  forget(): void {
    this.wasInVain = false;
    this.isTidy = false;
  }

  /** @returns nothing where the stream broke before it said what is to come */
  async open({ live, centralTime }: LiveAnswer, { progress, stop, log }: Cycle): Promise<LiveDownload | undefined> {
    const onBytes = (count: number): void => {
      progress.downloadedBytes += count;
      this.metrics.downloadedBytes.inc(count);
    };
    const watch = { stallMs: this.config.REQUEST_TIMEOUT, endsAtMs: performance.now() + this.config.DOWNLOAD_DEADLINE };
    try {
      return await LiveDownload.open(live, { path: this.downloads.livePath, watch, centralTime, onBytes });
    } catch (error) {
      if (stop.aborted) throw shuttingDown();
      if (!isBroken(error)) throw error;
      this.wasInVain = true;
      log.info({ err: error }, 'the live stream broke: the ordinary way is gone');
      return undefined;
    }
  }

  async run(cycle: Cycle, client: pg.PoolClient, live: LiveDownload, { accept, record }: Ends): Promise<Outcome> {
    const tables = live.tables.length;
    if (!(await this.steps.run(cycle, 'compare', { tables }, () => this.isUsable(client, live.draft)))) {
      this.wasInVain = true;
      return { manifest: undefined };
    }
    const arrival = this.steps.download(cycle, { tables }, () => live.run());
    const accepted = arrival.then(accept);
    accepted.catch(() => undefined); // whoever waits for it hears of it
    const following = new Following(arrival.then(() => undefined));
    try {
      return { applied: await this.load(cycle, client, live, { accepted, record, read: (table) => following.table(table) }) };
    } catch (error) {
      if (cycle.stop.aborted) throw shuttingDown();
      // Whatever failed, central hears which manifest it was.
      const manifest = await accepted.catch(() => undefined);
      if (following.gaveUp && manifest && live.isWhole) {
        return { applied: await this.load(cycle, client, live, { accepted, record, read: (table) => table }) };
      }
      if (!following.gaveUp && !isBroken(error)) throw error;
      this.wasInVain = isBroken(error) && !following.gaveUp;
      cycle.log.info({ reason: (error as Error).message }, 'the live stream was in vain: the ordinary way is gone');
      return { manifest };
    }
  }

  private async load(
    cycle: Cycle,
    client: pg.PoolClient,
    live: LiveDownload,
    {
      accepted,
      record,
      read,
    }: Pick<Ends, 'record'> & { accepted: Promise<Manifest>; read: (table: LiveDownload['tables'][number]) => FrameSource },
  ): Promise<Applied> {
    let settled: { plan: Plan; applied: Applied } | undefined;
    await this.loading.run(client, {
      shape: live.draft,
      tables: live.draft.tables,
      spooled: new Map(live.tables.map((table) => [table.promise.name, read(table)])),
      settle: async () => {
        const manifest = await accepted;
        checkAgainst(manifest, live);
        settled = { plan: planOf(manifest), applied: appliedOf(manifest, live) };
        return manifest.tables;
      },
      record: (transaction) => record(cycle, transaction, settled!.plan, settled!.applied),
      step: (name, facts, work) => this.steps.run(cycle, name, facts, work),
      signal: cycle.cut,
    });
    await this.downloads.clear().catch((error: unknown) => cycle.log.warn({ err: error }, 'earlier chunk streams could not be removed'));
    return settled!.applied;
  }

  /** Whether none of the tables is there yet, and all of them can be made. What is in the way is told with the manifest, of which central then hears. */
  private async isUsable(client: pg.PoolClient, draft: Draft): Promise<boolean> {
    if (draft.schemaVersion !== this.config.SCHEMA_VERSION) return false;
    try {
      checkTableNames(draft.tables);
      return await withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
        const { tables } = await inspectMirror(client, draft);
        await checkCreatable(client, draft, draft.tables);
        return tables.size === 0;
      });
    } catch (error) {
      if (error instanceof WaypostError && REFUSALS.includes(error.code)) return false;
      throw error;
    }
  }
}

function isBroken(error: unknown): boolean {
  return error instanceof WaypostError && BROKEN.includes(error.code);
}

/** @throws WaypostError CHUNK_CORRUPT when the manifest is of something else than what came before it */
function checkAgainst(manifest: Manifest, { draft, tables }: LiveDownload): void {
  const sameShape = canonicalJson(shapeOf(manifest)) === canonicalJson(shapeOf(draft));
  const differs = manifest.tables.find(({ sha256, rowCount }, at) => {
    const totals = tables[at]?.index.totals();
    return totals?.sha256 !== sha256 || totals.rowCount !== rowCount;
  });
  if (sameShape && !differs) return;
  throw new WaypostError('CHUNK_CORRUPT', {
    detail: `A live stream is not what its manifest says${differs ? ` of ${differs.name}` : ''}.`,
  });
}

function shapeOf({ types, tables }: MirrorShape): MirrorShape {
  return {
    types,
    tables: tables.map(({ name, format, columns, key, onReferenced }) => ({
      name,
      format,
      columns,
      key,
      ...(onReferenced ? { onReferenced } : {}),
    })),
  };
}

function planOf(manifest: Manifest): Plan {
  return { manifest, before: undefined, changed: manifest.tables, rehashed: [], allNew: true };
}

function appliedOf({ tables }: Manifest, live: LiveDownload): Applied {
  return {
    status: 'Success',
    tables: tables.map(({ name, rowCount, sha256 }, at) => ({
      name,
      rowCount,
      sha256,
      action: 'loaded',
      downloadedBytes: live.tables[at]!.index.totals().frameBytes,
    })),
    rowsLoaded: tables.reduce((total, { rowCount }) => total + rowCount, 0),
    rawBytes: tables.reduce((total, { rawBytes }) => total + rawBytes, 0),
    acknowledge: true,
  };
}
