import type { RowFormat } from './chunker.js';
import { MAX_FRAME_BYTES, ROW_FORMATS } from './chunk-stream.js';
import { WaypostError } from './errors.js';

/**
 * The wire format of what differs between two states of a table: a header, the list of the segments as a zstd frame, then one zstd frame per segment, in key
 * order: the canonical bytes of the segment's new chunks, with those of its old chunks as the dictionary. Integers are big-endian.
 * docs/sync-protocol.md describes it byte by byte.
 */
export const DELTA_STREAM_TYPE = 'application/vnd.waypost.delta';
export const DELTA_HEADER_BYTES = 80;
export const SEGMENT_ENTRY_BYTES = 28;
export const SEGMENT_CHECK_BYTES = 8;
/** A delta has no longer segments, old or new: memory of both services holds several forms of a few of them. A table of which a longer one differs comes whole. */
export const MAX_SEGMENT_BYTES = 4 << 20;
const MAGIC = Buffer.from('WPD1', 'latin1');
const DIGEST_BYTES = 32;

export interface DeltaHeader {
  format: RowFormat;
  /** Hash of the table that the delta starts from, as 64 hex digits. */
  baseSha256: string;
  /** Hash of the table that it leads to. */
  sha256: string;
  segmentCount: number;
  /** Length of the zstd frame that holds the list of the segments. */
  listBytes: number;
}

/** A segment as the list describes it. */
export interface SegmentEntry {
  /** Chunks that stay as they are between the segment before it and this one. */
  keptChunks: number;
  oldChunks: number;
  newChunks: number;
  /** Length of the canonical bytes of its new chunks; 0 where there are none: then it has no frame. */
  rawBytes: number;
  /** Length of its zstd frame. */
  frameBytes: number;
  /** The first bytes of the SHA-256 of its new chunks' canonical bytes. What proves the table is its own hash. */
  check: Buffer;
}

export function encodeDeltaHeader({ format, baseSha256, sha256, segmentCount, listBytes }: DeltaHeader): Buffer {
  const bytes = Buffer.alloc(DELTA_HEADER_BYTES);
  MAGIC.copy(bytes);
  bytes.writeUInt8(ROW_FORMATS.indexOf(format), 4);
  bytes.write(baseSha256, 8, 'hex');
  bytes.write(sha256, 8 + DIGEST_BYTES, 'hex');
  bytes.writeUInt32BE(segmentCount, 8 + 2 * DIGEST_BYTES);
  bytes.writeUInt32BE(listBytes, 12 + 2 * DIGEST_BYTES);
  return bytes;
}

/** @throws WaypostError CHUNK_CORRUPT when the bytes are not the header of a delta */
export function decodeDeltaHeader(bytes: Buffer): DeltaHeader {
  if (bytes.length < DELTA_HEADER_BYTES || !bytes.subarray(0, 4).equals(MAGIC)) throw corrupt('it does not start with WPD1');
  const format = ROW_FORMATS[bytes.readUInt8(4)];
  if (format === undefined || bytes.readUIntBE(5, 3) !== 0) throw corrupt('its header names an unknown format');
  const hashAt = (start: number): string => bytes.toString('hex', start, start + DIGEST_BYTES);
  return {
    format,
    baseSha256: hashAt(8),
    sha256: hashAt(8 + DIGEST_BYTES),
    segmentCount: bytes.readUInt32BE(8 + 2 * DIGEST_BYTES),
    listBytes: bytes.readUInt32BE(12 + 2 * DIGEST_BYTES),
  };
}

/** The list of segments, before it is compressed. */
export function encodeSegments(segments: readonly SegmentEntry[]): Buffer {
  const bytes = Buffer.alloc(segments.length * SEGMENT_ENTRY_BYTES);
  for (const [at, { keptChunks, oldChunks, newChunks, rawBytes, frameBytes, check }] of segments.entries()) {
    const start = at * SEGMENT_ENTRY_BYTES;
    for (const [field, value] of [keptChunks, oldChunks, newChunks, rawBytes, frameBytes].entries())
      bytes.writeUInt32BE(value, start + field * 4);
    check.copy(bytes, start + SEGMENT_ENTRY_BYTES - SEGMENT_CHECK_BYTES, 0, SEGMENT_CHECK_BYTES);
  }
  return bytes;
}

/**
 * @param bytes the list, restored
 * @throws WaypostError CHUNK_CORRUPT when no delta can have such segments
 */
export function decodeSegments(bytes: Buffer, segmentCount: number): SegmentEntry[] {
  if (bytes.length !== segmentCount * SEGMENT_ENTRY_BYTES) throw corrupt('its list has another length than its header says');
  return Array.from({ length: segmentCount }, (_, at) => {
    const start = at * SEGMENT_ENTRY_BYTES;
    const [keptChunks, oldChunks, newChunks, rawBytes, frameBytes] = [0, 4, 8, 12, 16].map((field) =>
      bytes.readUInt32BE(start + field),
    ) as [number, number, number, number, number];
    const isEmpty = newChunks === 0;
    const isPossible =
      oldChunks + newChunks > 0 &&
      rawBytes <= MAX_SEGMENT_BYTES &&
      frameBytes <= MAX_FRAME_BYTES &&
      isEmpty === (rawBytes === 0) &&
      isEmpty === (frameBytes === 0);
    if (!isPossible) throw corrupt('a segment has impossible sizes');
    const check = bytes.subarray(start + SEGMENT_ENTRY_BYTES - SEGMENT_CHECK_BYTES, start + SEGMENT_ENTRY_BYTES);
    return { keptChunks, oldChunks, newChunks, rawBytes, frameBytes, check };
  });
}

function corrupt(why: string): WaypostError {
  return new WaypostError('CHUNK_CORRUPT', { detail: `A delta is damaged: ${why}.` });
}
