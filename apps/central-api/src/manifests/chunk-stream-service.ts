import { Readable } from 'node:stream';
import { Inject, Injectable } from '@nestjs/common';
import { type ManifestTable, sha256, WaypostError } from '@waypost/contracts';
import { faultPoint } from '@waypost/runtime';
import { DataSource } from 'typeorm';
import { getLiveManifest } from './find-manifest.js';
import { SNAPSHOT_STORE, type SnapshotStore } from '../chunk-store/snapshot-store.js';

interface Wanted {
  manifestId: string;
  table: string;
  mac: string;
}

/** HTTP's conditions on what is sent, as RFC 9110 has them. */
interface Conditions {
  /** Of it `bytes=<start>-` is understood; with another one the whole stream is sent, as RFC 9110 allows. */
  range: string | undefined;
  ifRange: string | undefined;
  ifNoneMatch?: string | undefined;
  /** Nothing is to be sent, so nothing of it is read. */
  isHead?: boolean;
}

/** The client holds the stream already. */
interface NotModified {
  etag: string;
  isNotModified: true;
}

interface Unsatisfiable {
  /** RANGE_INVALID. */
  unsatisfiable: WaypostError;
  totalBytes: number;
}

interface ChunkStream {
  body: Readable;
  length: number;
  etag: string;
  contentRange?: string;
}

/** Opens a table's chunk stream: header and index, then the frames from the store. */
@Injectable()
export class ChunkStreamService {
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

  /** @throws WaypostError SNAPSHOT_MISSING, STORAGE_FAILED */
  async open(table: ManifestTable, conditions: Conditions): Promise<ChunkStream | NotModified | Unsatisfiable> {
    const etag = await this.findMatch(table, conditions);
    if (etag !== undefined) return { etag, isNotModified: true };
    const stream = (await this.openRange(table, conditions)) ?? (await this.openWhole(table, conditions));
    if (stream) return stream;
    throw new WaypostError('SNAPSHOT_MISSING', { detail: `The snapshot of ${table.name} is not in the store, or not whole.` });
  }

  /** The stream's ETag, if If-None-Match names it. */
  private async findMatch(table: ManifestTable, { ifNoneMatch }: Conditions): Promise<string | undefined> {
    if (ifNoneMatch === undefined) return undefined;
    const size = await this.store.measureStream(table, { isWhole: false });
    const etag = size && etagOf(size.indexSha256);
    const named = ifNoneMatch.split(',').map((text) => text.trim().replace(/^W\//, ''));
    return etag !== undefined && (named.includes(etag) || named.includes('*')) ? etag : undefined;
  }

  private async openWhole(table: ManifestTable, { isHead }: Conditions): Promise<ChunkStream | undefined> {
    if (table.streamBytes > LONG_STREAM_BYTES) return this.openLong(table, isHead);
    const stored = await this.store.find(table);
    if (!stored) return undefined;
    const body = isHead ? nothing() : Readable.from(joined(stored.index, this.store.openFrames(table, stored)), BYTES);
    return { body, length: stored.index.length + stored.frameBytes, etag: etagOf(sha256(stored.index)) };
  }

  private async openLong(table: ManifestTable, isHead: boolean | undefined): Promise<ChunkStream | undefined> {
    const size = await this.store.measureStream(table, { isWhole: true });
    if (!size) return undefined;
    const body = isHead ? nothing() : await begun(this.store.openStream(table, size, 0));
    return { body, length: size.indexBytes + size.frameBytes, etag: etagOf(size.indexSha256) };
  }

  /** What is lost is noticed before the answer begins, as far as the range begins with it. @returns nothing where the whole is to be sent */
  private async openRange(table: ManifestTable, { range, ifRange, isHead }: Conditions): Promise<ChunkStream | Unsatisfiable | undefined> {
    const start = startOf(range);
    const size = start > 0 ? await this.store.measureStream(table, { isWhole: false }) : undefined;
    if (!size) return undefined;
    const etag = etagOf(size.indexSha256);
    if (ifRange !== undefined && ifRange !== etag) return undefined;
    const total = size.indexBytes + size.frameBytes;
    if (start >= total)
      return { unsatisfiable: new WaypostError('RANGE_INVALID', { detail: `The stream has ${total} bytes.` }), totalBytes: total };
    const body = isHead ? nothing() : await begun(this.store.openStream(table, size, start));
    return { body, length: total - start, etag, contentRange: `bytes ${start}-${total - 1}/${total}` };
  }
}

/** The index of a longer stream is read part by part, as it is sent, and once more for the frames. */
const LONG_STREAM_BYTES = 64 << 20;
const BYTES = { objectMode: false, highWaterMark: 1 };

function nothing(): Readable {
  return Readable.from([], BYTES);
}

/** A stream whose first piece is there. @throws what reading that piece throws */
async function begun(stream: AsyncGenerator<Buffer>): Promise<Readable> {
  const first = await stream.next();
  const body = Readable.from(joined(first.done ? Buffer.alloc(0) : first.value, stream), BYTES);
  // Where the client never begins to read, the generator that would end this one is never entered.
  return body.once('close', () => void stream.return(undefined).catch(() => undefined));
}

async function* joined(first: Buffer, rest: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  if (first.length > 0) yield first;
  await faultPoint('central.mid-download');
  yield* rest;
}

function etagOf(indexSha256: Buffer): string {
  return `"${indexSha256.toString('hex')}"`;
}

/** Where the range begins; 0 for the whole. */
export function startOf(range: string | undefined): number {
  return Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
}
