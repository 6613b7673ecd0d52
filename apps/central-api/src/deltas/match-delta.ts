import {
  type ChunkIndex,
  DELTA_HEADER_BYTES,
  encodeDeltaHeader,
  encodeSegments,
  matchChunks,
  MAX_SEGMENT_BYTES,
  type NamedChunks,
} from '@waypost/contracts';
import { compress } from '@waypost/runtime';
import type { SnapshotId } from '../chunk-store/snapshot-store.js';
import { LONG, LONG_SEGMENT } from './make-delta.js';

/** A delta stream of chunks as they are stored. */
export interface MatchedDelta {
  /** What stands before the frames. */
  head: Buffer;
  /** The chunks whose frames follow. */
  chunks: ChunkIndex;
  /** Of all of it. */
  bytes: number;
}

/**
 * What leads from the chunks that a device names to a table, as a delta stream whose frames are those of the store. Nothing of them is read.
 * @returns a text where the table itself is the better answer: why
 */
export function matchDelta(held: NamedChunks, { sha256, format }: SnapshotId, index: ChunkIndex): MatchedDelta | string {
  const { segments, chunks } = matchChunks(held.digests, index);
  if (segments.some(({ rawBytes }) => rawBytes > MAX_SEGMENT_BYTES)) return LONG_SEGMENT;
  const limit = index.totals().frameBytes;
  const { frameBytes } = chunks.totals();
  if (DELTA_HEADER_BYTES + frameBytes >= limit) return LONG;
  const list = segments.length === 0 ? Buffer.alloc(0) : compress(encodeSegments(segments));
  const header = { format, baseSha256: held.sha256, sha256, segmentCount: segments.length, listBytes: list.length };
  const head = Buffer.concat([encodeDeltaHeader(header), list]);
  const bytes = head.length + frameBytes;
  return bytes < limit ? { head, chunks, bytes } : LONG;
}
