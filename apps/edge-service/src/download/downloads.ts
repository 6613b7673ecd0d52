import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import {
  type BorderedIndex,
  keyFieldsOf,
  type Manifest,
  type ManifestTable,
  MAX_NAMED_CHUNKS,
  nameChunks,
  WaypostError,
} from '@waypost/contracts';
import { describeSpan, LOGGER, SpanKind, traced } from '@waypost/runtime';
import type { Logger } from 'pino';
import { CentralCircuit } from '../central/central-circuit.js';
import { CentralClient, type DeltaStart } from '../central/central-client.js';
import { Metrics } from '../metrics/metrics.js';
import { checkExpectation } from '../chunk-source/check-index.js';
import { DOWNLOAD_OPTIONS, type DownloadOptions } from './download-options.js';
import { downloadDelta } from './download-delta.js';
import { downloadTable, type Transfer } from './download-table.js';
import { InterruptedStream } from './interrupted-stream.js';
import { hasLiveFrames, removeLiveFiles } from './live-files.js';
import { type DeltaExpectation, SpooledDelta } from './spooled-delta.js';
import { SpooledTable } from './spooled-table.js';

/** What a delta of a table can start from. Where central has none from the manifest, it is told which chunks the device holds. */
export interface DeltaBase {
  /** The manifest that the device holds, if the table is in it as it is here. */
  manifestId?: string | undefined;
  /** The delta from it, where it came with the manifest that leads on, unchecked. */
  delta?: Buffer | undefined;
  /** The hash of the table as it is here. */
  sha256: string;
  /** Its chunks, where those that are stored are others: what was just read. They are what the changes start from. */
  chunks?: BorderedIndex | undefined;
  /** Reads the chunks that are stored. @returns undefined where they are not the table's */
  readChunks?: (() => Promise<BorderedIndex | undefined>) | undefined;
}

type DeltaWay = DeltaExpectation['way'];

/** Chunk streams and deltas that are being written to disk, open for reading; ends the transfer and closes them when it goes out of scope. */
export interface Download extends AsyncDisposable {
  /** Of tables that are downloaded whole. After `run` also of those for which there turned out to be no delta. */
  byTable: ReadonlyMap<string, SpooledTable>;
  /** Deltas that are there, by table, after `run`. */
  deltas: ReadonlyMap<string, SpooledDelta>;
  /** Why there is no delta of a table that has a base, or none from the manifest, after `run`. */
  refusals: ReadonlyMap<string, string>;
  /** Received in this cycle so far, by table, without what earlier cycles received. */
  receivedBytes: ReadonlyMap<string, number>;
  /** Downloads what is missing, one table after another. Call it once. */
  run(): Promise<void>;
}

/** What a download has opened. */
interface Spool {
  byTable: Map<string, SpooledTable>;
  deltas: Map<string, SpooledDelta>;
  refusals: Map<string, string>;
  interrupted: InterruptedStream | undefined;
}

/** The folder of chunk streams in progress. Each device has its own within the download folder. */
@Injectable()
export class Downloads {
  private readonly folder: string;

  constructor(
    @Inject(DOWNLOAD_OPTIONS) private readonly options: DownloadOptions,
    private readonly client: CentralClient,
    private readonly circuit: CentralCircuit,
    private readonly metrics: Metrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    this.folder = join(options.folder, options.deviceMac.replaceAll(':', '-'));
  }

  /**
   * Opens the chunk streams of `tables` as far as they are on disk, and removes what this manifest does not need.
   * @param bases of tables of which a delta is tried first
   */
  async open(
    manifest: Manifest,
    { tables, bases }: { tables: readonly ManifestTable[]; bases: ReadonlyMap<string, DeltaBase> },
    signal: AbortSignal,
    onReceived: (bytes: number) => void,
  ): Promise<Download> {
    tables.forEach(checkExpectation);
    await this.keepOnly(tables, bases);
    const spool: Spool = { byTable: new Map(), deltas: new Map(), refusals: new Map(), interrupted: undefined };
    const { byTable, deltas } = spool;
    const receivedBytes = new Map<string, number>();
    const ended = new AbortController();
    const interrupted = await InterruptedStream.open(this.livePath, this.logger);
    spool.interrupted = interrupted;
    let running: Promise<void> = Promise.resolve();
    const close = async (): Promise<void> => {
      ended.abort();
      await running.catch(() => undefined);
      await Promise.all([...byTable.values(), ...deltas.values(), ...(interrupted ? [interrupted] : [])].map((opened) => opened.close()));
    };
    try {
      for (const table of tables) {
        receivedBytes.set(table.name, 0);
        const base = bases.get(table.name);
        const [way] = base ? waysFrom(base) : [];
        if (base && way) deltas.set(table.name, await this.openDelta(table, base, way));
        else byTable.set(table.name, await SpooledTable.open(this.pathOf(table), table));
      }
    } catch (error) {
      await close();
      throw error;
    }
    const onBytes = (table: string, count: number): void => {
      receivedBytes.set(table, (receivedBytes.get(table) ?? 0) + count);
      this.metrics.downloadedBytes.inc(count);
      onReceived(count);
    };
    const run = (): Promise<void> =>
      (running = this.fetchAll(manifest, { tables, bases }, spool, AbortSignal.any([signal, ended.signal]), onBytes));
    return { ...spool, receivedBytes, run, [Symbol.asyncDispose]: close };
  }

  private async fetchAll(
    { manifestId }: Manifest,
    { tables, bases }: { tables: readonly ManifestTable[]; bases: ReadonlyMap<string, DeltaBase> },
    spool: Spool,
    signal: AbortSignal,
    onBytes: (table: string, count: number) => void,
  ): Promise<void> {
    const { client, circuit } = this;
    const { interrupted } = spool;
    const watch = { stallMs: this.options.stallTimeoutMs, endsAtMs: performance.now() + this.options.deadlineMs };
    for (const table of tables) {
      const { name, streamBytes, rowCount } = table;
      let received = 0;
      const count = (bytes: number): void => {
        received += bytes;
        onBytes(name, bytes);
      };
      const transfer: Transfer = { client, circuit, manifestId, watch, signal, interrupted, onBytes: count };
      const attributes = { 'waypost.table': name, 'waypost.stream_bytes': streamBytes, 'waypost.rows': rowCount };
      await traced('download table', { kind: SpanKind.CLIENT, attributes }, async () => {
        const base = spool.deltas.has(name) ? bases.get(name) : undefined;
        if (base && !(await this.fetchDelta(spool, table, base, transfer)))
          spool.byTable.set(name, await SpooledTable.open(this.pathOf(table), table));
        const whole = spool.byTable.get(name);
        if (whole) await downloadTable(whole, transfer);
        describeSpan({ 'waypost.received_bytes': received });
      });
    }
  }

  /** @returns false where the table itself is to be downloaded */
  private async fetchDelta(spool: Spool, table: ManifestTable, base: DeltaBase, transfer: Transfer): Promise<boolean> {
    const { name } = table;
    const refusals: string[] = [];
    for (const way of waysFrom(base)) {
      const delta = spool.deltas.get(name) ?? (await this.openDelta(table, base, way));
      spool.deltas.set(name, delta);
      if (way === 'delta' && base.delta) await takeEnclosed(delta, base.delta, transfer.onBytes);
      const start = way === 'delta' ? { base: base.manifestId! } : await namedStart(table, base);
      const refusal = typeof start === 'string' ? start : await downloadDelta(delta, start, transfer);
      if (refusal === undefined) return true;
      refusals.push(refusal);
      spool.refusals.set(name, refusals.join('; '));
      spool.deltas.delete(name);
      await delta.discard();
    }
    return false;
  }

  /** For the frames of a live stream. */
  get livePath(): string {
    return join(this.folder, 'live.part');
  }

  /** Whether an interrupted live stream has left chunks for the next download. */
  async hasInterrupted(): Promise<boolean> {
    return hasLiveFrames(this.livePath);
  }

  /** Removes the chunks of an interrupted live stream. */
  async removeInterrupted(): Promise<void> {
    await removeLiveFiles(this.livePath);
  }

  /** Removes all chunk streams: their rows are in the database, or no manifest wants them any more. */
  async clear(): Promise<void> {
    await this.keepOnly([], new Map());
    await this.removeInterrupted();
  }

  private openDelta(table: ManifestTable, base: DeltaBase, way: DeltaWay): Promise<SpooledDelta> {
    return SpooledDelta.open(this.deltaPathOf(table, base, way), { table, baseSha256: base.sha256, way, from: base.chunks });
  }

  private async keepOnly(tables: readonly ManifestTable[], bases: ReadonlyMap<string, DeltaBase>): Promise<void> {
    try {
      await mkdir(this.folder, { recursive: true });
      const paths = tables.flatMap((table) => {
        const base = bases.get(table.name);
        return [this.pathOf(table), ...(base ? waysFrom(base).map((way) => this.deltaPathOf(table, base, way)) : [])];
      });
      const wanted = new Set(paths.flatMap((path) => [path, `${path}.etag`]));
      for (const file of await readdir(this.folder)) {
        const path = join(this.folder, file);
        if (!wanted.has(path) && /^[0-9a-f]{64}\.\w+\.part(\.etag)?$/.test(file)) await rm(path, { force: true });
      }
    } catch (cause) {
      throw new WaypostError('STORAGE_FAILED', { detail: `DOWNLOAD_DIR ${this.folder}: ${(cause as Error).message}`, cause });
    }
  }

  private pathOf({ sha256, format }: ManifestTable): string {
    return join(this.folder, `${sha256}.${format}.part`);
  }

  private deltaPathOf({ sha256 }: ManifestTable, base: DeltaBase, way: DeltaWay): string {
    return join(this.folder, `${sha256}.${way === 'delta' ? 'from' : 'beside'}_${base.sha256}.part`);
  }
}

/** Ways that are tried, in order. */
function waysFrom({ manifestId, chunks, readChunks }: DeltaBase): DeltaWay[] {
  // What starts from the manifest starts from the chunks that are stored.
  const byManifest = manifestId !== undefined && chunks === undefined;
  return [...(byManifest ? (['delta'] as const) : []), ...(chunks || readChunks ? (['chunks'] as const) : [])];
}

/** A damaged one is as good as none: it is asked for then. */
async function takeEnclosed(spooled: SpooledDelta, bytes: Buffer, onBytes: (count: number) => void): Promise<void> {
  if (spooled.complete) return;
  onBytes(bytes.length);
  await spooled.restart(undefined);
  await spooled.append(bytes).catch((error: unknown) => {
    if (!(error instanceof WaypostError) || error.code !== 'CHUNK_CORRUPT') throw error;
  });
  if (!spooled.complete) await spooled.restart(undefined);
}

/** @returns a text where the chunks cannot be named: why */
async function namedStart(table: ManifestTable, { sha256, chunks, readChunks }: DeltaBase): Promise<DeltaStart | string> {
  const held = chunks ?? (await readChunks?.());
  if (held?.borders.keyFields.join() !== keyFieldsOf(table).join()) return 'the chunks that are stored here are not those of its rows';
  if (held.index.length > MAX_NAMED_CHUNKS) return 'it has too many chunks to name them';
  return { sha256, digests: nameChunks(held.index) };
}
