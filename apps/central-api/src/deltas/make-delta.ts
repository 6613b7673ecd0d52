import {
  type ChunkIndex,
  ChunkIndexBuilder,
  type DeltaRows,
  DeltaRowsBuilder,
  type DeltaSegment,
  encodeDeltaHeader,
  encodeSegments,
  findSegments,
  MAX_SEGMENT_BYTES,
  NO_ROWS,
  rowsThatDiffer,
  SEGMENT_CHECK_BYTES,
  type SegmentEntry,
  sha256,
} from '@waypost/contracts';
import { compress, compressAgainst, releaseMemory, ZSTD_SLACK_BYTES } from '@waypost/runtime';
import type { KnownChanges } from '../chunk-store/row-changes.js';
import type { SnapshotId, SnapshotStore, StoredBase } from '../chunk-store/snapshot-store.js';
import type { DeltaWriter } from './delta-writer.js';
import { MAX_KEPT_BYTES } from './deltas.sql.js';

/** Why there is no delta where it would be no shorter. */
export const LONG = 'what differs is no shorter than the table';
export const LONG_SEGMENT = 'a part of it that differs is too long';

/** A state of a table, and what is stored of it. */
export interface StoredState {
  id: SnapshotId;
  stored: StoredBase;
}

interface MadeDelta {
  /** What stands before the frames. */
  head: Buffer;
  /** Of all of it. */
  bytes: number;
}

/**
 * What leads from one state of a table to another, as a delta stream: rows that differ where these are few, whole chunks where most rows do. Reads the chunks that differ,
 * of both. Memory holds a segment of each, a few MB of rows, and 44 bytes per segment.
 * @param writer takes the frames
 * @returns a text where the table itself is the better answer: why
 * @throws WaypostError SNAPSHOT_MISSING, CHUNK_CORRUPT
 */
export async function makeDelta(
  store: Pick<SnapshotStore, 'readChunks'>,
  { from, to }: Record<'from' | 'to', StoredState>,
  writer: Pick<DeltaWriter, 'add'>,
): Promise<MadeDelta | string> {
  const limit = Math.min(MAX_KEPT_BYTES, to.stored.index.totals().frameBytes);
  const segments = new Segments(writer);
  const failure = await addDifferences(segments, store, { from, to }, limit);
  return failure ?? segments.end({ from: from.id, to: to.id }, limit);
}

/** As makeDelta, where all rows that differ are known: nothing is read. */
export async function makeKnownDelta(
  { keyFields, rows: changes, frameBytes }: KnownChanges,
  ids: Record<'from' | 'to', SnapshotId>,
  writer: Pick<DeltaWriter, 'add'>,
): Promise<MadeDelta | string> {
  const segments = new Segments(writer);
  const rows = new DeltaRowsBuilder(keyFields);
  for (const segment of rows.add(changes)) await segments.addRows(segment);
  for (const segment of rows.finish()) await segments.addRows(segment);
  return segments.end(ids, Math.min(MAX_KEPT_BYTES, frameBytes));
}

/** @returns a text where there is none: why */
async function addDifferences(
  segments: Segments,
  store: Pick<SnapshotStore, 'readChunks'>,
  { from, to }: Record<'from' | 'to', StoredState>,
  limit: number,
): Promise<string | undefined> {
  const ranges = findSegments(from.stored, to.stored);
  const isLong = ({ from: old, to: now }: DeltaSegment): boolean =>
    rawBytes(from.stored.index, old) > MAX_SEGMENT_BYTES || rawBytes(to.stored.index, now) > MAX_SEGMENT_BYTES;
  if (ranges.some(isLong)) return LONG_SEGMENT;
  const { keyFields } = to.stored.borders;
  const older = store.readChunks(from.id, chunksOf(from.stored.index, ranges, 'from'));
  const newer = store.readChunks(to.id, chunksOf(to.stored.index, ranges, 'to'));
  const rows = new DeltaRowsBuilder(keyFields);
  try {
    for (const range of ranges) {
      const old = await take(older, countOf(range.from));
      const now = await take(newer, countOf(range.to));
      const changes = to.id.format === 'binary' ? rowsThatDiffer(keyFields, old, now) : undefined;
      if (changes) for (const segment of rows.add(changes)) await segments.addRows(segment);
      else await segments.addChunks(range, old, now);
      for (const bytes of [old, now]) releaseMemory(bytes, ZSTD_SLACK_BYTES);
      if (segments.bytes >= limit) return LONG;
    }
    for (const segment of rows.finish()) await segments.addRows(segment);
  } finally {
    await older.return(undefined);
    await newer.return(undefined);
  }
  return undefined;
}

/** The segments of a delta, as they are made. */
class Segments {
  /** Of their frames. */
  bytes = 0;
  private readonly entries: SegmentEntry[] = [];
  /** Where the last segment of chunks ends. */
  private lastEnd = 0;

  constructor(private readonly writer: Pick<DeltaWriter, 'add'>) {}

  async addRows({ keys, before, after, oldCheck }: DeltaRows): Promise<void> {
    const keysFrame = frameOf(keys, NOTHING);
    this.entries.push({
      ...(await this.add(after, before, keysFrame)),
      ...{ keptChunks: 0, oldChunks: 0, newChunks: 0, keysBytes: keys.length, keysFrameBytes: keysFrame.length, oldCheck },
    });
  }

  async addChunks({ from, to }: DeltaSegment, old: Buffer, now: Buffer): Promise<void> {
    const counts = { keptChunks: from.first - this.lastEnd, oldChunks: countOf(from), newChunks: countOf(to) };
    this.entries.push({ ...NO_ROWS, ...counts, ...(await this.add(now, old)) });
    this.lastEnd = from.end;
  }

  /** @returns a text where it is no shorter than `limit` */
  end({ from, to }: Record<'from' | 'to', SnapshotId>, limit: number): MadeDelta | string {
    const list = frameOf(encodeSegments(this.entries), NOTHING);
    const table = { format: to.format, baseSha256: from.sha256, sha256: to.sha256 };
    const head = Buffer.concat([encodeDeltaHeader({ ...table, segmentCount: this.entries.length, listBytes: list.length }), list]);
    const bytes = head.length + this.bytes;
    return bytes < limit ? { head, bytes } : LONG;
  }

  private async add(
    bytes: Buffer,
    dictionary: Buffer,
    before: Buffer = NOTHING,
  ): Promise<Pick<SegmentEntry, 'rawBytes' | 'frameBytes' | 'check'>> {
    const frame = frameOf(bytes, dictionary);
    for (const part of [before, frame]) if (part.length > 0) await this.writer.add(part);
    this.bytes += before.length + frame.length;
    return { rawBytes: bytes.length, frameBytes: frame.length, check: sha256(bytes).subarray(0, SEGMENT_CHECK_BYTES) };
  }
}

const NOTHING = Buffer.alloc(0);

function frameOf(bytes: Buffer, dictionary: Buffer): Buffer {
  if (bytes.length === 0) return NOTHING;
  return dictionary.length === 0 ? compress(bytes) : compressAgainst(dictionary, bytes);
}

type Places = DeltaSegment['from'];

function countOf({ first, end }: Places): number {
  return end - first;
}

function rawBytes(index: ChunkIndex, { first, end }: Places): number {
  let bytes = 0;
  for (let at = first; at < end; at += 1) bytes += index.entry(at).rawBytes;
  return bytes;
}

/** The chunks of all segments, of one side. */
function chunksOf(index: ChunkIndex, segments: readonly DeltaSegment[], side: 'from' | 'to'): ChunkIndex {
  const chunks = new ChunkIndexBuilder(index.format);
  for (const { [side]: places } of segments) for (let at = places.first; at < places.end; at += 1) chunks.add(index.entry(at));
  return chunks.build();
}

/** The next chunks, one after another. */
async function take(chunks: AsyncGenerator<Buffer>, count: number): Promise<Buffer> {
  const taken: Buffer[] = [];
  while (taken.length < count) {
    const next = await chunks.next();
    if (next.done) break;
    taken.push(next.value);
  }
  if (taken.length === 1) return taken[0] as Buffer;
  const bytes = Buffer.concat(taken);
  for (const chunk of taken) releaseMemory(chunk, ZSTD_SLACK_BYTES);
  return bytes;
}
