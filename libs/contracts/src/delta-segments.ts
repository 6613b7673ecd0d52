import { type BorderKeys, BorderKeysBuilder } from './border-keys.js';
import { type ChunkEntry, type ChunkIndex, ChunkIndexBuilder } from './chunk-stream.js';

/** A table in chunks, and where they end. */
export interface BorderedIndex {
  index: ChunkIndex;
  borders: BorderKeys;
}

/** Chunks of a key range that differ between two states of a table: these of the earlier one, by their places, became those of the later one. */
export interface DeltaSegment {
  from: { first: number; end: number };
  to: { first: number; end: number };
}

/**
 * What differs between two states of a table: the shortest key ranges that begin and end at borders of both, and whose chunks are not the same. In key order.
 * Either side of a segment may have no chunks.
 */
export function findSegments(from: BorderedIndex, to: BorderedIndex): DeltaSegment[] {
  const places = new Map(Array.from({ length: from.borders.length }, (_, at) => [from.borders.key(at).toString('latin1'), at] as const));
  const segments: DeltaSegment[] = [];
  let [earlier, later] = [0, 0];
  const endAt = (earlierEnd: number, laterEnd: number): void => {
    const isSame =
      earlierEnd - earlier === 1 && laterEnd - later === 1 && from.index.entry(earlier).digest.equals(to.index.entry(later).digest);
    const isEmpty = earlierEnd === earlier && laterEnd === later;
    if (!isSame && !isEmpty) segments.push({ from: { first: earlier, end: earlierEnd }, to: { first: later, end: laterEnd } });
    [earlier, later] = [earlierEnd, laterEnd];
  };
  for (let at = 0; at < to.borders.length; at += 1) {
    const place = places.get(to.borders.key(at).toString('latin1'));
    // Keys are in one order on both sides; where a damaged index says otherwise, no border is common.
    if (place !== undefined && place >= earlier) endAt(place + 1, at + 1);
  }
  endAt(from.borders.length, to.borders.length);
  return segments;
}

/** Chunks, by their places from `first` to before `end`, and what is in their place now. */
export interface ReplacedChunks {
  first: number;
  end: number;
  chunks: readonly { entry: ChunkEntry; lastKey: Buffer }[];
}

/** A table whose runs of chunks were replaced. @param runs in order */
export function replaceChunks(base: BorderedIndex, runs: readonly ReplacedChunks[]): BorderedIndex {
  const index = new ChunkIndexBuilder(base.index.format);
  const borders = new BorderKeysBuilder(base.borders.keyFields);
  const keep = (from: number, end: number): void => {
    for (let at = from; at < end; at += 1) {
      index.add(base.index.entry(at));
      borders.add(base.borders.key(at));
    }
  };
  let next = 0;
  for (const { first, end, chunks } of runs) {
    keep(next, first);
    for (const { entry, lastKey } of chunks) {
      index.add(entry);
      borders.add(lastKey);
    }
    next = end;
  }
  keep(next, base.index.length);
  return { index: index.build(), borders: borders.build() };
}
