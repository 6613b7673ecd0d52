import type { RowFormat } from './chunker.js';
import { MAX_FRAME_BYTES, ROW_FORMATS } from './chunk-stream.js';
import { WaypostError } from './errors.js';

/**
 * The wire format of what differs between two states of a table: a header, the list of the segments as a zstd frame, then the zstd frames of each segment. A segment
 * is either rows: the keys of those that were there before, and the canonical bytes of those that are there now, with those of the former as the dictionary; or chunks:
 * the canonical bytes of the new ones, with those of the old ones as the dictionary. Integers are big-endian. docs/sync-protocol.md describes it byte by byte.
 */
export const DELTA_STREAM_TYPE = 'application/vnd.waypost.delta';
export const DELTA_HEADER_BYTES = 80;
export const SEGMENT_ENTRY_BYTES = 44;
export const SEGMENT_CHECK_BYTES = 8;
/** A delta has no longer segments, old or new: memory of both services holds several forms of a few of them. A table of which a longer one differs comes whole. */
export const MAX_SEGMENT_BYTES = 4 << 20;
const MAGIC = Buffer.from('WPD2', 'latin1');
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

/** A segment as the list describes it. With neither old nor new chunks it is one of rows. */
export interface SegmentEntry {
  /** Of a segment of chunks: those between the one before it and this one, which stay, or in which rows change. */
  keptChunks: number;
  oldChunks: number;
  newChunks: number;
  /** Length of the canonical bytes of its new chunks, or of its rows as they are now; 0 where there are none: then they have no frame. */
  rawBytes: number;
  /** Length of their zstd frame. */
  frameBytes: number;
  /** Of a segment of rows: length of the keys of those that were there before, as BorderKeys are encoded, and of the zstd frame of these, which comes first. */
  keysBytes: number;
  keysFrameBytes: number;
  /** The first bytes of the SHA-256 of what `rawBytes` counts. What proves the table is its own hash. */
  check: Buffer;
  /** Of a segment of rows: the same of the rows that were there before, in the order of their keys. */
  oldCheck: Buffer;
}

/** In place of what a segment of chunks has not. */
export const NO_ROWS = { keysBytes: 0, keysFrameBytes: 0, oldCheck: Buffer.alloc(SEGMENT_CHECK_BYTES) } as const;

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
  if (bytes.length < DELTA_HEADER_BYTES || !bytes.subarray(0, 4).equals(MAGIC)) throw corrupt('it does not start with WPD2');
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
  for (const [at, segment] of segments.entries()) {
    const start = at * SEGMENT_ENTRY_BYTES;
    for (const [field, name] of COUNTS.entries()) bytes.writeUInt32BE(segment[name], start + field * 4);
    for (const [field, name] of CHECKS.entries()) segment[name].copy(bytes, start + checkAt(field), 0, SEGMENT_CHECK_BYTES);
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
    const counts = COUNTS.map((name, field) => [name, bytes.readUInt32BE(start + field * 4)]);
    const checks = CHECKS.map((name, field) => [
      name,
      bytes.subarray(start + checkAt(field), start + checkAt(field) + SEGMENT_CHECK_BYTES),
    ]);
    const segment = Object.fromEntries([...counts, ...checks]) as SegmentEntry;
    if (!isPossible(segment)) throw corrupt('a segment has impossible sizes');
    return segment;
  });
}

const COUNTS = ['keptChunks', 'oldChunks', 'newChunks', 'rawBytes', 'frameBytes', 'keysBytes', 'keysFrameBytes'] as const;
const CHECKS = ['check', 'oldCheck'] as const;

function checkAt(field: number): number {
  return COUNTS.length * 4 + field * SEGMENT_CHECK_BYTES;
}

/** Whether a segment is one of rows. */
export function hasRows({ oldChunks, newChunks }: SegmentEntry): boolean {
  return oldChunks + newChunks === 0;
}

function isPossible(segment: SegmentEntry): boolean {
  const { keptChunks, newChunks, rawBytes, frameBytes, keysBytes, keysFrameBytes } = segment;
  const hasFrames = [
    [rawBytes, frameBytes],
    [keysBytes, keysFrameBytes],
  ].every(([raw = 0, frame = 0]) => raw <= MAX_SEGMENT_BYTES && frame <= MAX_FRAME_BYTES && (raw === 0) === (frame === 0));
  if (!hasFrames) return false;
  return hasRows(segment) ? keptChunks === 0 && rawBytes + keysBytes > 0 : keysBytes === 0 && (newChunks === 0) === (rawBytes === 0);
}

function corrupt(why: string): WaypostError {
  return new WaypostError('CHUNK_CORRUPT', { detail: `A delta is damaged: ${why}.` });
}
