import {
  type ChunkIndex,
  ChunkIndexBuilder,
  DELTA_HEADER_BYTES,
  type DeltaSegment,
  encodeDeltaHeader,
  encodeSegments,
  findSegments,
  MAX_SEGMENT_BYTES,
  SEGMENT_CHECK_BYTES,
  type SegmentEntry,
  sha256,
} from '@waypost/contracts';
import { compress, compressAgainst, releaseMemory, ZSTD_SLACK_BYTES } from '@waypost/runtime';
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
 * What leads from one state of a table to another, as a delta stream. Reads the chunks that differ, of both. Memory holds a segment of each, and 28 bytes per
 * segment.
 * @param writer takes the frames
 * @returns a text where the table itself is the better answer: why
 * @throws WaypostError SNAPSHOT_MISSING, CHUNK_CORRUPT
 */
export async function makeDelta(
  store: Pick<SnapshotStore, 'readChunks'>,
  { from, to }: Record<'from' | 'to', StoredState>,
  writer: Pick<DeltaWriter, 'add'>,
): Promise<MadeDelta | string> {
  const segments = findSegments(from.stored, to.stored);
  const isLong = ({ from: old, to: now }: DeltaSegment): boolean =>
    rawBytes(from.stored.index, old) > MAX_SEGMENT_BYTES || rawBytes(to.stored.index, now) > MAX_SEGMENT_BYTES;
  if (segments.some(isLong)) return LONG_SEGMENT;
  const limit = Math.min(MAX_KEPT_BYTES, to.stored.index.totals().frameBytes);
  const older = store.readChunks(from.id, chunksOf(from.stored.index, segments, 'from'));
  const newer = store.readChunks(to.id, chunksOf(to.stored.index, segments, 'to'));
  const entries: SegmentEntry[] = [];
  let kept = 0;
  let bytes = DELTA_HEADER_BYTES;
  try {
    for (const segment of segments) {
      const dictionary = await take(older, countOf(segment.from));
      const chunks = await take(newer, countOf(segment.to));
      const frame =
        chunks.length === 0 ? Buffer.alloc(0) : dictionary.length === 0 ? compress(chunks) : compressAgainst(dictionary, chunks);
      entries.push({
        keptChunks: segment.from.first - kept,
        oldChunks: countOf(segment.from),
        newChunks: countOf(segment.to),
        rawBytes: chunks.length,
        frameBytes: frame.length,
        check: sha256(chunks).subarray(0, SEGMENT_CHECK_BYTES),
      });
      for (const bytes of [dictionary, chunks]) releaseMemory(bytes, ZSTD_SLACK_BYTES);
      kept = segment.from.end;
      if ((bytes += frame.length) >= limit) return LONG;
      await writer.add(frame);
    }
  } finally {
    await older.return(undefined);
    await newer.return(undefined);
  }
  const list = entries.length === 0 ? Buffer.alloc(0) : compress(encodeSegments(entries));
  const head = encodeDeltaHeader({
    format: to.id.format,
    baseSha256: from.id.sha256,
    sha256: to.id.sha256,
    segmentCount: entries.length,
    listBytes: list.length,
  });
  bytes += list.length;
  return bytes < limit ? { head: Buffer.concat([head, list]), bytes } : LONG;
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
