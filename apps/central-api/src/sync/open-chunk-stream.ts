import { Readable } from 'node:stream';
import { Inject, Injectable } from '@nestjs/common';
import { type ManifestTable, sha256, WaypostError } from '@waypost/contracts';
import { faultPoint } from '@waypost/runtime';
import { DataSource } from 'typeorm';
import { getLiveManifest } from '../manifests/find-manifest.js';
import { SNAPSHOT_STORE, type SnapshotStore } from '../snapshots/snapshot-store.js';

interface Wanted {
  manifestId: string;
  table: string;
  mac: string;
}

interface Part {
  /** HTTP's Range header, of which `bytes=<start>-` is understood; others get the whole stream, as RFC 9110 allows. */
  range: string | undefined;
  ifRange: string | undefined;
}

interface ChunkStream {
  body: Readable;
  length: number;
  etag: string;
  contentRange?: string;
}

/** Opens a table's chunk stream: header and index, then the frames from the store. */
@Injectable()
export class OpenChunkStream {
  constructor(
    private readonly dataSource: DataSource,
    @Inject(SNAPSHOT_STORE) private readonly store: SnapshotStore,
  ) {}

  /**
   * What the device may download. Reads nothing of the store.
   * @throws WaypostError MANIFEST_UNKNOWN, MANIFEST_NOT_YOURS, MANIFEST_EXPIRED, TABLE_NOT_IN_MANIFEST
   */
  async getTable({ manifestId, table: name, mac }: Wanted): Promise<ManifestTable> {
    const manifest = await getLiveManifest(this.dataSource.manager, manifestId, mac);
    const table = manifest.tables.find((candidate) => candidate.name === name);
    if (!table) throw new WaypostError('TABLE_NOT_IN_MANIFEST', { detail: `The manifest ${manifestId} has no table ${name}.` });
    return table;
  }

  /** @throws WaypostError SNAPSHOT_MISSING, RANGE_INVALID, STORAGE_FAILED */
  async open(table: ManifestTable, { range, ifRange }: Part): Promise<ChunkStream> {
    const stored = await this.store.find(table);
    if (!stored) throw new WaypostError('SNAPSHOT_MISSING', { detail: `The snapshot of ${table.name} is not in the store, or not whole.` });

    // The index holds the digest and the frame length of each chunk: it stands for the whole stream.
    const etag = `"${sha256(stored.index).toString('hex')}"`;
    const total = stored.index.length + stored.frameBytes;
    const start = ifRange === undefined || ifRange === etag ? startOf(range, total) : 0;
    const index = stored.index.subarray(Math.min(start, stored.index.length));
    const frames = this.store.openFrames(table, stored, Math.max(0, start - stored.index.length));
    const body = Readable.from(joined(index, frames), { objectMode: false, highWaterMark: 1 });
    return {
      body,
      length: total - start,
      etag,
      ...(start > 0 ? { contentRange: `bytes ${start}-${total - 1}/${total}` } : {}),
    };
  }
}

async function* joined(index: Buffer, frames: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  if (index.length > 0) yield index;
  await faultPoint('central.mid-download');
  yield* frames;
}

function startOf(range: string | undefined, total: number): number {
  const start = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
  if (start > 0 && start >= total) throw new WaypostError('RANGE_INVALID', { detail: `The stream has ${total} bytes.` });
  return start;
}
