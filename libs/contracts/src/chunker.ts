import { WaypostError } from './errors.js';

/** How a table's canonical rows are written: PostgreSQL's own COPY formats. */
export type RowFormat = 'binary' | 'text';

/** A chunk ends after a row whose key hash has these bits zero: one row in 256 on average. */
export const BORDER_MASK = 0xff;
/** A chunk ends, at the latest, with the row that makes it at least this long. */
export const CHUNK_SOFT_LIMIT_BYTES = 1 << 20;
/** A longer row is refused; it bounds the memory of both services. */
export const MAX_ROW_BYTES = 64 << 20;
/** No chunk can be longer: one byte short of the soft limit, plus one row. */
export const MAX_CHUNK_BYTES = CHUNK_SOFT_LIMIT_BYTES - 1 + MAX_ROW_BYTES;

/**
 * Takes each chunk as it is cut.
 * @param bytes a view into the chunker's own buffer, valid only until this call returns: copy what must live longer
 * @param lastKey the key of the chunk's last row, copied: of each key field, in key order, its length as a 32-bit integer and its bytes as COPY writes
 * them. Call it before this call returns.
 */
export type ChunkSink = (bytes: Buffer, rowCount: number, lastKey: () => Buffer) => void;

interface RowShape {
  format: RowFormat;
  /** Number of columns of each row. */
  fieldCount: number;
  /** Positions of the key's columns among the row's columns, in key order. */
  keyFields: readonly number[];
  /** Binary rows come without COPY's header and trailer. */
  isBare?: boolean;
}

const COPY_SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1');
const FIXED_HEADER_BYTES = COPY_SIGNATURE.length + 8;
const INITIAL_CAPACITY = 256 << 10;
const TAB = 0x09;
const LF = 0x0a;

/**
 * Cuts what PostgreSQL writes for `COPY (SELECT … ORDER BY key) TO STDOUT` into chunks of whole rows.
 *
 * Guarantees: the chunks, put together, are the COPY data without binary header and trailer; the borders depend only on the rows since the
 * last border, never on how the data was split into buffers. Values are framed, never decoded. Holds at most one chunk and one input buffer.
 *
 * Content-defined borders follow the idea of Dolt's prolly trees and of casync; the key hash is FNV-1a (32 bit) with MurmurHash3's finalizer.
 */
export class Chunker {
  private buffer = Buffer.allocUnsafeSlow(INITIAL_CAPACITY);
  /** The buffer holds the current chunk in [0, rowStart) and bytes not yet framed in [rowStart, length). */
  private length = 0;
  private rowStart = 0;
  private rowsInChunk = 0;
  /** Text only: no row end lies before this position. */
  private scanned = 0;
  private phase: 'header' | 'rows' | 'trailer';
  /** Of the last row that is whole. */
  private readonly fieldStarts: Int32Array;
  private readonly fieldEnds: Int32Array;
  private keyHash = 0;
  private readonly lastKey = (): Buffer => this.copyKey();

  constructor(
    private readonly shape: RowShape,
    private readonly sink: ChunkSink,
  ) {
    this.phase = this.isFramed ? 'header' : 'rows';
    this.fieldStarts = new Int32Array(shape.fieldCount);
    this.fieldEnds = new Int32Array(shape.fieldCount);
  }

  /**
   * Takes the next bytes of the COPY stream, split anywhere.
   * @throws WaypostError ROW_TOO_LARGE, COPY_MALFORMED
   */
  push(input: Uint8Array): void {
    this.append(input);
    if (this.phase === 'header' && !this.skipHeader()) return;
    this.frameRows();
    if (this.length - this.rowStart > MAX_ROW_BYTES) throw rowTooLarge();
  }

  /** Rows that were pushed since the last border: where this is 0, a border lies behind the last row. */
  get pendingRows(): number {
    return this.rowsInChunk;
  }

  /**
   * Ends the stream and hands out the last chunk, if it has rows.
   * @throws WaypostError COPY_MALFORMED when the stream stopped inside a row or without its trailer
   */
  end(): void {
    const finished = !this.isFramed || this.phase === 'trailer';
    if (!finished || this.length !== this.rowStart) throw malformed('it ended in the middle of a row');
    if (this.rowsInChunk > 0) this.cut();
  }

  private get isFramed(): boolean {
    return this.shape.format === 'binary' && !this.shape.isBare;
  }

  private append(input: Uint8Array): void {
    const needed = this.length + input.length;
    if (needed > this.buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.buffer.length * 2));
      this.buffer.copy(larger, 0, 0, this.length);
      this.replaceBuffer(larger);
    }
    this.buffer.set(input, this.length);
    this.length = needed;
  }

  private skipHeader(): boolean {
    if (this.length < FIXED_HEADER_BYTES) return false;
    if (!this.buffer.subarray(0, COPY_SIGNATURE.length).equals(COPY_SIGNATURE)) throw malformed('its signature is missing');
    // PostgreSQL's documentation: bits 16 to 31 change the format, a reader should abort; the extension is to be skipped.
    if (this.buffer.readUInt16BE(COPY_SIGNATURE.length) !== 0) throw malformed('its header has unknown flags');
    const extensionBytes = this.buffer.readUInt32BE(FIXED_HEADER_BYTES - 4);
    if (extensionBytes > MAX_ROW_BYTES) throw malformed('its header is too long');
    const end = FIXED_HEADER_BYTES + extensionBytes;
    if (this.length < end) return false;
    this.buffer.copyWithin(0, end, this.length);
    this.length -= end;
    this.phase = 'rows';
    return true;
  }

  private frameRows(): void {
    const binary = this.shape.format === 'binary';
    let chunkStart = 0;
    for (;;) {
      const rowEnd = binary ? this.frameBinaryRow() : this.frameTextRow();
      if (rowEnd < 0) break;
      if (rowEnd - this.rowStart > MAX_ROW_BYTES) throw rowTooLarge();
      this.rowStart = rowEnd;
      this.rowsInChunk += 1;
      if ((this.keyHash & BORDER_MASK) === 0 || rowEnd - chunkStart >= CHUNK_SOFT_LIMIT_BYTES) {
        this.sink(this.buffer.subarray(chunkStart, rowEnd), this.rowsInChunk, this.lastKey);
        this.rowsInChunk = 0;
        chunkStart = rowEnd;
      }
    }
    if (chunkStart > 0) this.discard(chunkStart);
  }

  /** Drops handed-out bytes from the buffer's front, and a buffer that one huge row made large. */
  private discard(count: number): void {
    const rest = this.length - count;
    if (this.buffer.length > 4 * CHUNK_SOFT_LIMIT_BYTES && rest < CHUNK_SOFT_LIMIT_BYTES) {
      const smaller = Buffer.allocUnsafeSlow(Math.max(INITIAL_CAPACITY, rest));
      this.buffer.copy(smaller, 0, count, this.length);
      this.replaceBuffer(smaller);
    } else {
      this.buffer.copyWithin(0, count, this.length);
    }
    this.length = rest;
    this.rowStart -= count;
    this.scanned = Math.max(0, this.scanned - count);
    for (const field of this.shape.keyFields) {
      this.fieldStarts[field] = (this.fieldStarts[field] as number) - count;
      this.fieldEnds[field] = (this.fieldEnds[field] as number) - count;
    }
  }

  /** Releases the old buffer's memory at once: V8 may keep several buffers of a long row's size until its next collection. */
  private replaceBuffer(buffer: Buffer<ArrayBuffer>): void {
    this.buffer.buffer.transfer(0);
    this.buffer = buffer;
  }

  private cut(): void {
    this.sink(this.buffer.subarray(0, this.rowStart), this.rowsInChunk, this.lastKey);
    this.rowsInChunk = 0;
    this.discard(this.rowStart);
  }

  /** The end of the row that starts at rowStart, or -1 while it is incomplete. Sets keyHash. */
  private frameBinaryRow(): number {
    const { buffer, length, fieldStarts, fieldEnds } = this;
    let at = this.rowStart;
    if (this.phase === 'trailer') {
      if (at < length) throw malformed('data follows its trailer');
      return -1;
    }
    if (at + 2 > length) return -1;
    const fieldCount = ((buffer[at] as number) << 8) | (buffer[at + 1] as number);
    at += 2;
    if (fieldCount === 0xffff && this.isFramed) {
      this.phase = 'trailer';
      this.length -= 2;
      if (this.length !== this.rowStart) throw malformed('data follows its trailer');
      return -1;
    }
    if (fieldCount !== this.shape.fieldCount) {
      throw malformed(`a row has ${fieldCount} fields, ${this.shape.fieldCount} were expected`);
    }
    for (let field = 0; field < fieldCount; field += 1) {
      if (at + 4 > length) return -1;
      const size = readInt32(buffer, at);
      if (size < -1) throw malformed(`a field has length ${size}`);
      if (size > MAX_ROW_BYTES) throw rowTooLarge();
      fieldStarts[field] = at;
      at += size === -1 ? 4 : 4 + size;
      if (at > length) return -1;
      fieldEnds[field] = at;
    }
    this.hashKey();
    return at;
  }

  /** As frameBinaryRow. COPY escapes tabs and line feeds in text, so that raw ones are always borders. */
  private frameTextRow(): number {
    const { buffer, length, fieldStarts, fieldEnds } = this;
    const lineFeed = buffer.subarray(0, length).indexOf(LF, Math.max(this.scanned, this.rowStart));
    if (lineFeed < 0) {
      this.scanned = length;
      return -1;
    }
    let field = 0;
    let start = this.rowStart;
    for (let at = start; at <= lineFeed; at += 1) {
      if (at !== lineFeed && buffer[at] !== TAB) continue;
      if (field < fieldStarts.length) {
        fieldStarts[field] = start;
        fieldEnds[field] = at + 1;
      }
      field += 1;
      start = at + 1;
    }
    if (field !== this.shape.fieldCount) {
      throw malformed(`a row has ${field} fields, ${this.shape.fieldCount} were expected`);
    }
    this.scanned = lineFeed + 1;
    this.hashKey();
    return lineFeed + 1;
  }

  /** A binary field has its length before it, a text field its separator behind it. */
  private copyKey(): Buffer {
    const { buffer, fieldStarts, fieldEnds, shape } = this;
    const parts = shape.keyFields.flatMap((field) => {
      const [start, end] = [fieldStarts[field] as number, fieldEnds[field] as number];
      if (shape.format === 'binary') return [buffer.subarray(start, end)];
      const length = Buffer.allocUnsafe(4);
      length.writeInt32BE(end - 1 - start);
      return [length, buffer.subarray(start, end - 1)];
    });
    return Buffer.concat(parts);
  }

  /** Over each key field as it stands in the row: binary with its length, text without its separator but with one zero byte after it. */
  private hashKey(): void {
    const { buffer, fieldStarts, fieldEnds } = this;
    const text = this.shape.format === 'text';
    let hash = 0x811c9dc5;
    for (const field of this.shape.keyFields) {
      const end = (fieldEnds[field] as number) - (text ? 1 : 0);
      for (let at = fieldStarts[field] as number; at < end; at += 1) hash = Math.imul(hash ^ (buffer[at] as number), 0x01000193);
      if (text) hash = Math.imul(hash, 0x01000193);
    }
    hash ^= hash >>> 16;
    hash = Math.imul(hash, 0x85ebca6b);
    hash ^= hash >>> 13;
    hash = Math.imul(hash, 0xc2b2ae35);
    this.keyHash = hash ^ (hash >>> 16);
  }
}

function readInt32(buffer: Buffer, at: number): number {
  return (
    ((buffer[at] as number) << 24) | ((buffer[at + 1] as number) << 16) | ((buffer[at + 2] as number) << 8) | (buffer[at + 3] as number)
  );
}

function malformed(why: string): WaypostError {
  return new WaypostError('COPY_MALFORMED', { detail: `The COPY stream is malformed: ${why}.` });
}

function rowTooLarge(): WaypostError {
  return new WaypostError('ROW_TOO_LARGE', { detail: `A row is longer than ${MAX_ROW_BYTES} bytes.` });
}
