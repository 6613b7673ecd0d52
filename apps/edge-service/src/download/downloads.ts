import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import { type Manifest, type ManifestTable, WaypostError } from '@waypost/contracts';
import { describeSpan, SpanKind, traced } from '@waypost/runtime';
import { CentralCircuit } from '../central/central-circuit.js';
import { CentralClient } from '../central/central-client.js';
import { CONFIG, type EdgeConfig } from '../config.js';
import { Metrics } from '../metrics/metrics.js';
import { checkPromise } from './check-index.js';
import { downloadTable } from './download-table.js';
import { SpooledTable } from './spooled-table.js';

/** Chunk streams that are complete on disk, open for reading; closes them when it goes out of scope. */
export interface Downloaded extends AsyncDisposable {
  byTable: ReadonlyMap<string, SpooledTable>;
  /** Received in this cycle, by table: what an earlier one had brought is not counted again. */
  receivedBytes: ReadonlyMap<string, number>;
}

/** The folder of chunk streams under way. Each device has a folder of its own in DOWNLOAD_DIR. */
@Injectable()
export class Downloads {
  private readonly folder: string;

  constructor(
    @Inject(CONFIG) private readonly config: EdgeConfig,
    private readonly client: CentralClient,
    private readonly circuit: CentralCircuit,
    private readonly metrics: Metrics,
  ) {
    this.folder = join(config.DOWNLOAD_DIR, config.DEVICE_MAC.replaceAll(':', '-'));
  }

  /** Brings the chunk streams of `tables` to disk, one after another, and removes what this manifest does not need. */
  async fetch(
    manifest: Manifest,
    tables: readonly ManifestTable[],
    signal: AbortSignal,
    onReceived: (bytes: number) => void,
  ): Promise<Downloaded> {
    tables.forEach(checkPromise);
    await this.keepOnly(tables);
    const byTable = new Map<string, SpooledTable>();
    const receivedBytes = new Map<string, number>();
    const close = async (): Promise<void> => {
      await Promise.all([...byTable.values()].map((spooled) => spooled.close()));
    };
    const watch = { stallMs: this.config.STALL_TIMEOUT, endsAtMs: performance.now() + this.config.DOWNLOAD_DEADLINE };
    try {
      for (const table of tables) {
        const spooled = await SpooledTable.open(this.pathOf(table), table);
        byTable.set(table.name, spooled);
        receivedBytes.set(table.name, 0);
        const onBytes = (count: number): void => {
          receivedBytes.set(table.name, (receivedBytes.get(table.name) ?? 0) + count);
          this.metrics.downloadedBytes.inc(count);
          onReceived(count);
        };
        const { client, circuit } = this;
        const transfer = { client, circuit, manifestId: manifest.manifestId, watch, signal, onBytes };
        const attributes = { 'waypost.table': table.name, 'waypost.stream_bytes': table.streamBytes, 'waypost.rows': table.rowCount };
        await traced('download table', { kind: SpanKind.CLIENT, attributes }, async () => {
          await downloadTable(spooled, transfer);
          describeSpan({ 'waypost.received_bytes': receivedBytes.get(table.name) ?? 0 });
        });
      }
    } catch (error) {
      await close();
      throw error;
    }
    return { byTable, receivedBytes, [Symbol.asyncDispose]: close };
  }

  /** Removes all chunk streams: their rows are in the database, or no manifest wants them any more. */
  async clear(): Promise<void> {
    await this.keepOnly([]);
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
