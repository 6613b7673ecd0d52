import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import { type Manifest, type ManifestTable, WaypostError } from '@waypost/contracts';
import { describeSpan, LOGGER, SpanKind, traced } from '@waypost/runtime';
import type { Logger } from 'pino';
import { CentralCircuit } from '../central/central-circuit.js';
import { CentralClient } from '../central/central-client.js';
import { Metrics } from '../metrics/metrics.js';
import { checkExpectation } from '../chunk-source/check-index.js';
import { DOWNLOAD_OPTIONS, type DownloadOptions } from './download-options.js';
import { downloadTable } from './download-table.js';
import { InterruptedStream } from './interrupted-stream.js';
import { hasLiveFrames, removeLiveFiles } from './live-files.js';
import { SpooledTable } from './spooled-table.js';

/** Chunk streams that are being written to disk, open for reading; ends the transfer and closes them when it goes out of scope. */
export interface Download extends AsyncDisposable {
  byTable: ReadonlyMap<string, SpooledTable>;
  /** Received in this cycle so far, by table, without what earlier cycles received. */
  receivedBytes: ReadonlyMap<string, number>;
  /** Downloads what is missing, one table after another. Call it once. */
  run(): Promise<void>;
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

  /** Opens the chunk streams of `tables` as far as they are on disk, and removes what this manifest does not need. */
  async open(
    manifest: Manifest,
    tables: readonly ManifestTable[],
    signal: AbortSignal,
    onReceived: (bytes: number) => void,
  ): Promise<Download> {
    tables.forEach(checkExpectation);
    await this.keepOnly(tables);
    const byTable = new Map<string, SpooledTable>();
    const receivedBytes = new Map<string, number>();
    const ended = new AbortController();
    const interrupted = await InterruptedStream.open(this.livePath, this.logger);
    let running: Promise<void> = Promise.resolve();
    const close = async (): Promise<void> => {
      ended.abort();
      await running.catch(() => undefined);
      await Promise.all([...byTable.values(), ...(interrupted ? [interrupted] : [])].map((opened) => opened.close()));
    };
    try {
      for (const table of tables) {
        byTable.set(table.name, await SpooledTable.open(this.pathOf(table), table));
        receivedBytes.set(table.name, 0);
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
      (running = this.fetchAll(manifest, tables, { byTable, interrupted }, AbortSignal.any([signal, ended.signal]), onBytes));
    return { byTable, receivedBytes, run, [Symbol.asyncDispose]: close };
  }

  private async fetchAll(
    { manifestId }: Manifest,
    tables: readonly ManifestTable[],
    { byTable, interrupted }: Pick<Download, 'byTable'> & { interrupted: InterruptedStream | undefined },
    signal: AbortSignal,
    onBytes: (table: string, count: number) => void,
  ): Promise<void> {
    const { client, circuit } = this;
    const watch = { stallMs: this.options.stallTimeoutMs, endsAtMs: performance.now() + this.options.deadlineMs };
    for (const { name, streamBytes, rowCount } of tables) {
      let received = 0;
      const count = (bytes: number): void => {
        received += bytes;
        onBytes(name, bytes);
      };
      const attributes = { 'waypost.table': name, 'waypost.stream_bytes': streamBytes, 'waypost.rows': rowCount };
      await traced('download table', { kind: SpanKind.CLIENT, attributes }, async () => {
        await downloadTable(byTable.get(name)!, { client, circuit, manifestId, watch, signal, interrupted, onBytes: count });
        describeSpan({ 'waypost.received_bytes': received });
      });
    }
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
    await this.keepOnly([]);
    await this.removeInterrupted();
  }

  private async keepOnly(tables: readonly ManifestTable[]): Promise<void> {
    try {
      await mkdir(this.folder, { recursive: true });
      const wanted = new Set(tables.map((table) => this.pathOf(table)).flatMap((path) => [path, `${path}.etag`]));
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
}
