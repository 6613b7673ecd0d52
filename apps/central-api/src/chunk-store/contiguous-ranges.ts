interface Place {
  packId: string;
  start: number;
  frameBytes: number;
}

/** Frames that lie side by side in a pack, in the order given; more than one only as long as they are not longer than `maxBytes`. */
export function* runsOf<P extends Place>(places: readonly P[], maxBytes = Infinity): Generator<P[]> {
  let run: P[] = [];
  let bytes = 0;
  for (const place of places) {
    const [first] = run;
    if (first && (place.packId !== first.packId || place.start !== first.start + bytes || bytes + place.frameBytes > maxBytes)) {
      yield run;
      run = [];
      bytes = 0;
    }
    run.push(place);
    bytes += place.frameBytes;
  }
  if (run.length > 0) yield run;
}

export function bytesOf(run: readonly Place[]): number {
  return run.reduce((sum, { frameBytes }) => sum + frameBytes, 0);
}
