import { type FileHandle, open, readFile, rm, writeFile } from 'node:fs/promises';
import {
  BorderKeys,
  type BorderedIndex,
  decodeDeltaHeader,
  decodeSegments,
  DELTA_HEADER_BYTES,
  hasRows,
  keyFieldsOf,
  type ManifestTable,
  SEGMENT_ENTRY_BYTES,
  type SegmentEntry,
  WaypostError,
} from '@waypost/contracts';
import { decompress, faultPoint } from '@waypost/runtime';
import { type ChangeSource, checkDigest, type ChunkChange, type RowsChange } from '../chunk-source/change-source.js';
import { readFully, storageFailed, writeFully } from '../chunk-source/chunk-file.js';

/** What a delta is to be. */
export interface DeltaExpectation {
  table: Pick<ManifestTable, 'name' | 'sha256' | 'format' | 'streamBytes' | 'columns' | 'key'>;
  /** The hash of the table that the device holds. */
  baseSha256: string;
  /** `chunks`: each as it is, where central was told which ones the device holds. */
  way: 'delta' | 'chunks';
  /** As of ChangeSource. */
  from?: BorderedIndex | undefined;
}

/**
 * A delta on disk: exactly the bytes of the wire, as far as they have come. Header and list are checked when they are there; a frame can be checked only
 * beside the rows that it was made against.
 */
export class SpooledDelta implements ChangeSource {
  /** Bytes on disk. */
  length = 0;
  /** The delta's ETag at central, without which its rest cannot be asked for. */
  etag: string | undefined;
  private list: { segments: readonly SegmentEntry[]; start: number; totalBytes: number } | undefined;

  private constructor(
    readonly expected: DeltaExpectation,
    private readonly path: string,
    private readonly file: FileHandle,
  ) {}

  /** Resumes what an earlier attempt left, as far as it is good. @throws WaypostError STORAGE_FAILED */
  static async open(path: string, expected: DeltaExpectation): Promise<SpooledDelta> {
    const file = await open(path, 'a+').catch((error: unknown) => failed(path, error));
    const spooled = new SpooledDelta(expected, path, file);
    try {
      await spooled.resume();
      return spooled;
    } catch (error) {
      await file.close();
      return failed(path, error);
    }
  }

  get baseSha256(): string {
    return this.expected.baseSha256;
  }

  get from(): BorderedIndex | undefined {
    return this.expected.from;
  }

  get leadsTo(): string | undefined {
    return this.expected.way === 'chunks' ? this.expected.table.sha256 : undefined;
  }

  /** Whether all of it has come. */
  get complete(): boolean {
    return this.list?.totalBytes === this.length;
  }

  /** Of all segments; before they are there, none. */
  get segments(): readonly SegmentEntry[] {
    return this.list?.segments ?? [];
  }

  /** Discards what is there: the delta starts over, under this ETag. */
  async restart(etag: string | undefined): Promise<void> {
    this.length = 0;
    this.list = undefined;
    this.etag = etag;
    await this.file.truncate(0).catch((error: unknown) => failed(this.path, error));
    const remember = etag === undefined ? rm(`${this.path}.etag`, { force: true }) : writeFile(`${this.path}.etag`, etag);
    await remember.catch((error: unknown) => failed(this.path, error));
  }

  /** @throws WaypostError CHUNK_CORRUPT where it cannot be the delta that is expected, STORAGE_FAILED */
  async append(bytes: Buffer): Promise<void> {
    const most = this.list?.totalBytes ?? this.expected.table.streamBytes;
    if (this.length + bytes.length > most) throw this.corrupt('it is longer than it may be');
    await writeFully(this.file, this.path, bytes, null);
    this.length += bytes.length;
    await faultPoint('edge.delta-spooled');
    if (!this.list) await this.readList();
    if (this.list && this.length > this.list.totalBytes) throw this.corrupt('bytes follow its last frame');
  }

  async *changes(): AsyncGenerator<ChunkChange | RowsChange, void> {
    if (!this.list || !this.complete) throw this.corrupt('it is not complete');
    let position = this.list.start;
    let place = 0;
    for (const segment of this.list.segments) {
      const keysFrame = await this.readFrame(position, segment.keysFrameBytes);
      const frame = await this.readFrame(position + segment.keysFrameBytes, segment.frameBytes);
      position += segment.keysFrameBytes + segment.frameBytes;
      const open = (old: Buffer): Buffer => openSegment(segment, frame, old);
      if (hasRows(segment)) {
        yield { keys: this.openKeys(segment, keysFrame), oldCheck: segment.oldCheck, open };
        continue;
      }
      const first = place + segment.keptChunks;
      place = first + segment.oldChunks;
      yield { first, end: place, rawBytes: segment.rawBytes, open };
    }
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  /** Closes and removes it. */
  async discard(): Promise<void> {
    await this.file.close();
    await Promise.all([this.path, `${this.path}.etag`].map((path) => rm(path, { force: true }))).catch((error: unknown) =>
      failed(this.path, error),
    );
  }

  private async resume(): Promise<void> {
    const { size } = await this.file.stat();
    this.etag = await readFile(`${this.path}.etag`, 'utf8').catch(() => undefined);
    this.length = size;
    await this.readList().catch((error: unknown) => {
      if (!(error instanceof WaypostError) || error.code !== 'CHUNK_CORRUPT') throw error;
      this.etag = undefined;
    });
    const isGood = this.etag !== undefined && (this.list === undefined || this.length <= this.list.totalBytes);
    if (!isGood) await this.restart(undefined);
  }

  /** Reads header and list once they are there. */
  private async readList(): Promise<void> {
    if (this.length < DELTA_HEADER_BYTES) return;
    const { table, baseSha256 } = this.expected;
    const header = decodeDeltaHeader(await this.read(0, DELTA_HEADER_BYTES));
    if (header.format !== table.format || header.baseSha256 !== baseSha256 || header.sha256 !== table.sha256)
      throw this.corrupt('it leads from, or to, another table');
    const start = DELTA_HEADER_BYTES + header.listBytes;
    const rawBytes = header.segmentCount * SEGMENT_ENTRY_BYTES;
    // Before memory is taken for it.
    if (start > table.streamBytes || rawBytes > (header.listBytes + 1) * MAX_RATIO)
      throw this.corrupt('its header announces an impossible list');
    if (this.length < start) return;
    const list = rawBytes === 0 ? Buffer.alloc(0) : decompress(await this.read(DELTA_HEADER_BYTES, header.listBytes), rawBytes);
    const segments = decodeSegments(list, header.segmentCount);
    this.list = {
      segments,
      start,
      totalBytes: segments.reduce((total, { keysFrameBytes, frameBytes }) => total + keysFrameBytes + frameBytes, start),
    };
    if (this.list.totalBytes > table.streamBytes) throw this.corrupt('it is longer than the table');
  }

  private read(position: number, length: number): Promise<Buffer> {
    return readFully(this.file, this.path, Buffer.alloc(length), position);
  }

  private readFrame(position: number, length: number): Promise<Buffer> {
    return readFully(this.file, this.path, Buffer.allocUnsafeSlow(length), position);
  }

  private openKeys({ keysBytes }: SegmentEntry, frame: Buffer): { key: Buffer }[] {
    if (keysBytes === 0) return [];
    const keys = BorderKeys.decode(decompress(frame, keysBytes));
    if (keys.keyFields.join() !== keyFieldsOf(this.expected.table).join()) throw this.corrupt('its keys are not those of the table');
    return Array.from({ length: keys.length }, (_, at) => ({ key: keys.key(at) }));
  }

  private corrupt(why: string): WaypostError {
    return new WaypostError('CHUNK_CORRUPT', { detail: `The delta of ${this.expected.table.name} is damaged: ${why}.` });
  }
}

const MAX_RATIO = 20_000;

function openSegment({ rawBytes, check }: SegmentEntry, frame: Buffer, old: Buffer): Buffer {
  if (rawBytes === 0) return Buffer.alloc(0);
  const bytes = decompress(frame, rawBytes, old.length > 0 ? old : undefined);
  checkDigest(bytes, check);
  return bytes;
}

function failed(path: string, error: unknown): never {
  throw storageFailed(path, error);
}
