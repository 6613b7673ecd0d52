import {
  ChunkIndex,
  encodeDeltaHeader,
  encodeSegments,
  findSegments,
  matchChunks,
  type NamedChunks,
  SEGMENT_CHECK_BYTES,
  type SegmentEntry,
  sha256,
} from '@waypost/contracts';
import { compress, compressAgainst, decompress } from '@waypost/runtime';
import type { TableStream } from './table-stream.js';

/** A delta in its parts. */
export interface DeltaParts {
  baseSha256: string;
  sha256: string;
  segments: SegmentEntry[];
  frames: Buffer[];
}

/** What leads from one state of a table to another, by docs/sync-protocol.md 5.2. */
export function deltaOf(from: TableStream, to: TableStream): DeltaParts {
  const [older, newer] = [chunksOf(from), chunksOf(to)];
  let kept = 0;
  const frames: Buffer[] = [];
  const segments = findSegments({ index: older.index, borders: from.keys }, { index: newer.index, borders: to.keys }).map((segment) => {
    const old = Buffer.concat(older.chunks.slice(segment.from.first, segment.from.end));
    const now = Buffer.concat(newer.chunks.slice(segment.to.first, segment.to.end));
    const frame = now.length === 0 ? now : old.length === 0 ? compress(now) : compressAgainst(old, now);
    frames.push(frame);
    const entry: SegmentEntry = {
      keptChunks: segment.from.first - kept,
      oldChunks: segment.from.end - segment.from.first,
      newChunks: segment.to.end - segment.to.first,
      rawBytes: now.length,
      frameBytes: frame.length,
      check: sha256(now).subarray(0, SEGMENT_CHECK_BYTES),
    };
    kept = segment.from.end;
    return entry;
  });
  return { baseSha256: from.table.sha256, sha256: to.table.sha256, segments, frames };
}

/** What leads from chunks that are named to a state of a table, by docs/sync-protocol.md 5.3. */
export function matchedDelta(held: NamedChunks, { bytes, borders, table }: TableStream): DeltaParts {
  const index = ChunkIndex.decode(bytes.subarray(0, borders[0]));
  const frames = new Map([...index].map(({ digest }, at) => [digest.toString('hex'), bytes.subarray(borders[at], borders[at + 1])]));
  const { segments, chunks } = matchChunks(held.digests, index);
  const coming = [...chunks].map(({ digest }) => frames.get(digest.toString('hex'))!);
  return {
    baseSha256: held.sha256,
    sha256: table.sha256,
    segments,
    frames: segments.map(({ newChunks }) => (newChunks > 0 ? coming.shift()! : Buffer.alloc(0))),
  };
}

export function encodeDelta({ baseSha256, sha256: hash, segments, frames }: DeltaParts): Buffer {
  const list = segments.length === 0 ? Buffer.alloc(0) : compress(encodeSegments(segments));
  const header = { format: 'binary' as const, baseSha256, sha256: hash, segmentCount: segments.length, listBytes: list.length };
  return Buffer.concat([encodeDeltaHeader(header), list, ...frames]);
}

function chunksOf({ bytes, borders }: TableStream): { index: ChunkIndex; chunks: Buffer[] } {
  const index = ChunkIndex.decode(bytes.subarray(0, borders[0]));
  const chunks = [...index].map(({ rawBytes }, at) => decompress(bytes.subarray(borders[at], borders[at + 1]), rawBytes));
  return { index, chunks };
}
