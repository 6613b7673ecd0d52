interface Place {
  packId: string;
  start: number;
  frameBytes: number;
}

/** Frames that lie side by side in a pack, in the order given; more than one only as long as they are not longer than `maxBytes`. */
export function* contiguousRanges<P extends Place>(places: readonly P[], maxBytes = Infinity): Generator<P[]> {
  let range: P[] = [];
  let bytes = 0;
  for (const place of places) {
    const [first] = range;
    if (first && (place.packId !== first.packId || place.start !== first.start + bytes || bytes + place.frameBytes > maxBytes)) {
      yield range;
      range = [];
      bytes = 0;
    }
    range.push(place);
    bytes += place.frameBytes;
  }
  if (range.length > 0) yield range;
}

export function lengthOf(range: readonly Place[]): number {
  return range.reduce((sum, { frameBytes }) => sum + frameBytes, 0);
}
