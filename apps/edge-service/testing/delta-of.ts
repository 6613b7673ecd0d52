import {
  ChunkIndex,
  type DeltaRows,
  DeltaRowsBuilder,
  encodeDeltaHeader,
  encodeSegments,
  findSegments,
  matchChunks,
  type NamedChunks,
  NO_ROWS,
  rowsThatDiffer,
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
  const { keyFields } = to.keys;
  const rows = new DeltaRowsBuilder(keyFields);
  let kept = 0;
  const delta: DeltaParts = { baseSha256: from.table.sha256, sha256: to.table.sha256, segments: [], frames: [] };
  const add = (entry: Partial<SegmentEntry>, old: Buffer, now: Buffer, keys: Buffer = Buffer.alloc(0)): void => {
    const frame = frameOf(now, old);
    const keysFrame = frameOf(keys);
    const lengths = { rawBytes: now.length, frameBytes: frame.length, keysBytes: keys.length, keysFrameBytes: keysFrame.length };
    const check = sha256(now).subarray(0, SEGMENT_CHECK_BYTES);
    delta.segments.push({ ...NO_ROWS, keptChunks: 0, oldChunks: 0, newChunks: 0, check, ...entry, ...lengths });
    delta.frames.push(Buffer.concat([keysFrame, frame]));
  };
  const addRows = ({ keys, before, after, oldCheck }: DeltaRows): void => add({ oldCheck }, before, after, keys);
  for (const range of findSegments({ index: older.index, borders: from.keys }, { index: newer.index, borders: to.keys })) {
    const old = Buffer.concat(older.chunks.slice(range.from.first, range.from.end));
    const now = Buffer.concat(newer.chunks.slice(range.to.first, range.to.end));
    const changes = rowsThatDiffer(keyFields, old, now);
    if (changes) {
      for (const segment of rows.add(changes)) addRows(segment);
      continue;
    }
    const [oldChunks, newChunks] = [range.from, range.to].map(({ first, end }) => end - first) as [number, number];
    add({ keptChunks: range.from.first - kept, oldChunks, newChunks }, old, now);
    kept = range.from.end;
  }
  for (const segment of rows.finish()) addRows(segment);
  return delta;
}

function frameOf(bytes: Buffer, dictionary: Buffer = Buffer.alloc(0)): Buffer {
  if (bytes.length === 0) return bytes;
  return dictionary.length === 0 ? compress(bytes) : compressAgainst(dictionary, bytes);
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
