import { Inject, Injectable } from '@nestjs/common';
import { canonicalJson, type Preamble, type Manifest, type MirrorShape, WaypostError } from '@waypost/contracts';
import { withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import type { LiveAnswer } from '../central/central-client.js';
import { shuttingDown } from '../central/race-abort.js';
import { Downloads } from '../download/downloads.js';
import { TailReader } from '../chunk-source/tail-reader.js';
import { LiveDownload } from '../download/live-download.js';
import type { ChunkSource } from '../chunk-source/chunk-source.js';
import { checkCreatable } from '../load/create-tables.js';
import { checkTableNames } from '../load/check-table-names.js';
import { LoadTransaction } from '../load/load-transaction.js';
import { MirrorInspector } from '../load/mirror-inspector.js';
import { Metrics } from '../metrics/metrics.js';
import type { MirrorDiff } from './compare-mirror.js';
import type { Applied, Cycle } from '../phase/cycle.js';
import { CycleSteps } from '../phase/cycle-steps.js';
import { MIRROR_OPTIONS, type MirrorOptions } from './mirror-options.js';
import { RecordSuccess } from './record-success.js';

interface LiveLoad {
  accepted: Promise<Manifest>;
  read: (table: LiveDownload['tables'][number]) => ChunkSource;
}

/** Either everything is loaded, or the manifest says what to download, or the manifest must be requested. */
type Outcome = { applied: Applied } | { manifest: Manifest | undefined };

/** Errors of a broken stream: the regular download follows. */
const BROKEN: readonly string[] = ['CENTRAL_UNREACHABLE', 'TRANSFER_STALLED', 'DEADLINE_EXCEEDED', 'CHUNK_CORRUPT'];

/** Errors of a preamble that this database cannot hold. */
const REFUSALS: readonly string[] = ['SCHEMA_MISMATCH', 'MANIFEST_INVALID'];

/**
 * Loads a device's first rows while central still reads them. Nothing is committed before the manifest has arrived and the rows in the
 * database are verified against it. Falls back to the regular download where the link is slow or breaks, or where tables exist already.
 */
@Injectable()
export class FirstSync {
  /** A live stream broke, or tables exist: from then on downloads are regular ones, which can be resumed. */
  private disabled = false;
  private isTidied = false;

  constructor(
    @Inject(MIRROR_OPTIONS) private readonly options: MirrorOptions,
    private readonly downloads: Downloads,
    private readonly loading: LoadTransaction,
    private readonly inspector: MirrorInspector,
    private readonly recording: RecordSuccess,
    private readonly steps: CycleSteps,
    private readonly metrics: Metrics,
  ) {}

  /** False where an interrupted live stream has left chunks: only a regular download can use them. */
  async isEnabled(): Promise<boolean> {
    return !this.disabled && !(await this.downloads.hasInterrupted());
  }

  /** For a device that holds a manifest: removes files that are left when the edge was killed right after COMMIT. Acts once per process. */
  async tidy({ log }: Cycle): Promise<void> {
    if (this.isTidied) return;
    this.isTidied = true;
    await this.downloads
      .removeInterrupted()
      .catch((error: unknown) => log.warn({ err: error }, 'chunks of an interrupted live stream could not be removed'));
  }

  /** The database was replaced. */
  reset(): void {
    this.disabled = false;
    this.isTidied = false;
  }

  /** @returns undefined where the stream broke before its preamble was complete */
  async open({ live, centralTime }: LiveAnswer, { progress, stop, log }: Cycle): Promise<LiveDownload | undefined> {
    const onBytes = (count: number): void => {
      progress.downloadedBytes += count;
      this.metrics.downloadedBytes.inc(count);
    };
    const watch = { stallMs: this.options.requestTimeoutMs, endsAtMs: performance.now() + this.options.downloadDeadlineMs };
    try {
      return await LiveDownload.open(live, { path: this.downloads.livePath, watch, centralTime, onBytes });
    } catch (error) {
      if (stop.aborted) throw shuttingDown();
      if (!isBroken(error)) throw error;
      this.disabled = true;
      log.info({ err: error }, 'live stream broken: falling back to the regular download');
      return undefined;
    }
  }

  /** @param accept refuses a manifest that this device must not apply */
  async run(cycle: Cycle, client: pg.PoolClient, live: LiveDownload, accept: (received: unknown) => Promise<Manifest>): Promise<Outcome> {
    const tables = live.tables.length;
    if (!(await this.steps.run(cycle, 'compare', { tables }, () => this.isUsable(client, live.preamble)))) {
      this.disabled = true;
      return { manifest: undefined };
    }
    const arrival = this.steps.download(cycle, { tables }, () => live.run());
    const accepted = arrival.then(accept);
    accepted.catch(() => undefined); // reported by the load
    const tail = new TailReader(arrival.then(() => undefined));
    try {
      return { applied: await this.load(cycle, client, live, { accepted, read: (table) => tail.read(table) }) };
    } catch (error) {
      if (cycle.stop.aborted) throw shuttingDown();
      // A failure is reported to central with its manifest.
      const manifest = await accepted.catch(() => undefined);
      if (tail.timedOut && manifest && live.isWhole) {
        return { applied: await this.load(cycle, client, live, { accepted, read: (table) => table }) };
      }
      if (!tail.timedOut && !isBroken(error)) throw error;
      this.disabled = isBroken(error) && !tail.timedOut;
      cycle.log.info({ reason: (error as Error).message }, 'live stream not usable: falling back to the regular download');
      return { manifest };
    }
  }

  private async load(cycle: Cycle, client: pg.PoolClient, live: LiveDownload, { accepted, read }: LiveLoad): Promise<Applied> {
    let settled: { diff: MirrorDiff; applied: Applied } | undefined;
    await this.loading.run(client, {
      cycleId: cycle.cycleId,
      shape: live.preamble,
      tables: live.preamble.tables,
      spooled: new Map(live.tables.map((table) => [table.expected.name, read(table)])),
      settle: async () => {
        const manifest = await accepted;
        checkAgainst(manifest, live);
        settled = { diff: diffOf(manifest), applied: loaded(manifest, live) };
        return manifest.tables;
      },
      record: (transaction, read) => this.recording.run(cycle, transaction, settled!.diff, settled!.applied, read),
      step: (name, facts, work) => this.steps.run(cycle, name, facts, work),
      signal: cycle.forceStop,
    });
    await this.downloads.clear().catch((error: unknown) => cycle.log.warn({ err: error }, 'earlier chunk streams could not be removed'));
    return settled!.applied;
  }

  /** Whether none of the tables exists and all can be created. If not, the regular download says why, and central is told. */
  private async isUsable(client: pg.PoolClient, preamble: Preamble): Promise<boolean> {
    if (preamble.schemaVersion !== this.options.schemaVersion) return false;
    try {
      checkTableNames(preamble.tables);
      return await withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
        const { tables, labels } = await this.inspector.inspect(client, preamble, undefined);
        await checkCreatable(client, preamble, preamble.tables);
        return tables.size + labels.length === 0;
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

/** @throws WaypostError CHUNK_CORRUPT when the manifest does not describe the rows that came before it */
function checkAgainst(manifest: Manifest, { preamble, tables }: LiveDownload): void {
  const sameShape = canonicalJson(shapeOf(manifest)) === canonicalJson(shapeOf(preamble));
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

function diffOf(manifest: Manifest): MirrorDiff {
  return { manifest, before: undefined, changed: manifest.tables, rehashed: new Map(), bases: new Map(), reasons: new Map(), allNew: true };
}

function loaded(manifest: Manifest, live: LiveDownload): Applied {
  const { tables } = manifest;
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
    manifest,
  };
}
