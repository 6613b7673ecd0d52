import type { RowFormat } from './chunker.js';
import { MAX_CHUNK_BYTES } from './chunker.js';
import { WaypostError } from './errors.js';
import { tableSha256 } from './hashes.js';

/**
 * The wire format of a table: a header, the index of its chunks, then one zstd frame per chunk, in key order.
 * Integers are big-endian. docs/sync-protocol.md describes it byte by byte.
 */
export const CHUNK_STREAM_TYPE = 'application/vnd.waypost.chunks';
export const HEADER_BYTES = 12;
export const INDEX_ENTRY_BYTES = 44;
const MAGIC = Buffer.from('WPC1', 'latin1');
/** By the number that names them on the wire. */
export const ROW_FORMATS: readonly RowFormat[] = ['binary', 'text'];
/** zstd grows data that it cannot compress by less than this. */
export const MAX_FRAME_BYTES = MAX_CHUNK_BYTES + (MAX_CHUNK_BYTES >> 8) + 1024;

/** One chunk as the index describes it. */
export interface ChunkEntry {
  /** SHA-256 of the chunk's canonical bytes. */
  digest: Buffer;
  rowCount: number;
  /** Length of the canonical bytes. */
  rawBytes: number;
  /** Length of the zstd frame. */
  frameBytes: number;
}

/** The index of a table's chunks in packed form: 44 bytes per chunk of any size. */
export class ChunkIndex {
  private constructor(
    readonly format: RowFormat,
    private readonly entries: Buffer,
  ) {}

  static empty(format: RowFormat): ChunkIndex {
    return new ChunkIndex(format, Buffer.alloc(0));
  }

  /**
   * Reads header and index.
   * @param bytes exactly `ChunkIndex.encodedBytes(header)` bytes
   * @throws WaypostError CHUNK_CORRUPT
   */
  static decode(bytes: Buffer): ChunkIndex {
    const { format, chunkCount } = readHeader(bytes);
    if (bytes.length !== HEADER_BYTES + chunkCount * INDEX_ENTRY_BYTES) throw corrupt('its index has another length than its header says');
    const index = new ChunkIndex(format, bytes.subarray(HEADER_BYTES));
    for (let at = 0; at < chunkCount; at += 1) readEntry(index.entries, at * INDEX_ENTRY_BYTES);
    return index;
  }

  /**
   * Length of header and index together.
   * @param header at least the first 12 bytes of a chunk stream
   * @throws WaypostError CHUNK_CORRUPT when they are not a header
   */
  static encodedBytes(header: Buffer): number {
    return HEADER_BYTES + readHeader(header).chunkCount * INDEX_ENTRY_BYTES;
  }

  /** Header and index as bytes. */
  encode(): Buffer {
    const header = Buffer.alloc(HEADER_BYTES);
    MAGIC.copy(header);
    header.writeUInt8(ROW_FORMATS.indexOf(this.format), 4);
    header.writeUInt32BE(this.length, 8);
    return Buffer.concat([header, this.entries]);
  }

  /** Number of chunks. */
  get length(): number {
    return this.entries.length / INDEX_ENTRY_BYTES;
  }

  entry(at: number): ChunkEntry {
    return entryAt(this.entries, at * INDEX_ENTRY_BYTES);
  }

  *[Symbol.iterator](): Generator<ChunkEntry> {
    for (let at = 0; at < this.length; at += 1) yield this.entry(at);
  }

  /** Rows, canonical bytes, frame bytes of all chunks, and the hash that names the table. */
  totals(): { rowCount: number; rawBytes: number; frameBytes: number; sha256: string } {
    let rowCount = 0;
    let rawBytes = 0;
    let frameBytes = 0;
    for (const chunk of this) {
      rowCount += chunk.rowCount;
      rawBytes += chunk.rawBytes;
      frameBytes += chunk.frameBytes;
    }
    return { rowCount, rawBytes, frameBytes, sha256: tableSha256(this.digests()) };
  }

  private *digests(): Generator<Buffer> {
    for (const { digest } of this) yield digest;
  }

  /** @internal for ChunkIndexBuilder */
  static fromEntries(format: RowFormat, entries: Buffer): ChunkIndex {
    return new ChunkIndex(format, entries);
  }
}

/** Collects chunk entries in order, packed. */
export class ChunkIndexBuilder {
  private entries = Buffer.alloc(64 * INDEX_ENTRY_BYTES);
  private used = 0;

  constructor(private readonly format: RowFormat) {}

  add(entry: ChunkEntry): void {
    if (this.used === this.entries.length) this.entries = Buffer.concat([this.entries, Buffer.alloc(this.entries.length)]);
    writeEntry(this.entries, this.used, entry);
    this.used += INDEX_ENTRY_BYTES;
  }

  build(): ChunkIndex {
    return ChunkIndex.fromEntries(this.format, this.entries.subarray(0, this.used));
  }
}

/**
 * Reads the entry at a position; it refers to these bytes.
 * @throws WaypostError CHUNK_CORRUPT when no chunk can have such an entry
 */
export function readEntry(bytes: Buffer, start: number): ChunkEntry {
  const entry = entryAt(bytes, start);
  const { rowCount, rawBytes, frameBytes } = entry;
  if (rowCount === 0 || rawBytes === 0 || rawBytes > MAX_CHUNK_BYTES || frameBytes === 0 || frameBytes > MAX_FRAME_BYTES) {
    throw corrupt('a chunk has impossible sizes');
  }
  return entry;
}

export function writeEntry(bytes: Buffer, start: number, { digest, rowCount, rawBytes, frameBytes }: ChunkEntry): void {
  digest.copy(bytes, start);
  bytes.writeUInt32BE(rowCount, start + 32);
  bytes.writeUInt32BE(rawBytes, start + 36);
  bytes.writeUInt32BE(frameBytes, start + 40);
}

function entryAt(bytes: Buffer, start: number): ChunkEntry {
  return {
    digest: bytes.subarray(start, start + 32),
    rowCount: bytes.readUInt32BE(start + 32),
    rawBytes: bytes.readUInt32BE(start + 36),
    frameBytes: bytes.readUInt32BE(start + 40),
  };
}

function readHeader(bytes: Buffer): { format: RowFormat; chunkCount: number } {
  if (bytes.length < HEADER_BYTES || !bytes.subarray(0, 4).equals(MAGIC)) throw corrupt('it does not start with WPC1');
  const format = ROW_FORMATS[bytes.readUInt8(4)];
  if (format === undefined || bytes.readUIntBE(5, 3) !== 0) throw corrupt('its header names an unknown format');
  return { format, chunkCount: bytes.readUInt32BE(8) };
}

function corrupt(why: string): WaypostError {
  return new WaypostError('CHUNK_CORRUPT', { detail: `A chunk stream is damaged: ${why}.` });
}
