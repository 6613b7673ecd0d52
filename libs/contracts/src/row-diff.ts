import { RowFramer, type RowShape } from './row-framer.js';

/** A row that comes (it has no `before`), changes, or goes (it has no `after`): views into the bytes that were compared. */
export interface RowChange {
  key: Buffer;
  before?: Buffer;
  after?: Buffer;
}

/** Of bytes of its own. */
export function copyRowChange({ key, before, after }: RowChange): RowChange {
  return { key: Buffer.from(key), ...(before && { before: Buffer.from(before) }), ...(after && { after: Buffer.from(after) }) };
}

/** Rows of a key range, before and after. */
export interface RowDiff {
  changes: RowChange[];
  /** Whether both end with the same row, or no row is left. */
  endsAlike: boolean;
}

/** Where one side has rows that the other has not, so many are looked at before the rest is compared by a map of its keys. */
const MAX_LOOKAHEAD = 16;

/**
 * Compares the rows of a key range before and after, by their canonical bytes in binary form. Both are in the order of their keys, and have no key twice. Rows that are the
 * same at the beginning and at the end are hardly looked at.
 * @throws WaypostError CHUNK_CORRUPT where what differs does not consist of whole rows of that shape
 */
export function diffRows(shape: RowShape, before: Buffer, after: Buffer): RowDiff {
  const framer = new RowFramer(shape);
  const start = lastRowStart(framer, before, samePrefix(before, after));
  const [old, now] = middles(framer, { before, after, start });
  const endsAlike = after.length === 0 || old.end < before.length;
  return { changes: compare(old, now), endsAlike };
}

/** Where the row begins in which position `at` is; the end where it is that. */
function lastRowStart(framer: RowFramer, bytes: Buffer, at: number): number {
  let start = 0;
  while (start < at) {
    const end = framer.frame(bytes, start);
    if (end > at) break;
    start = end;
  }
  return start;
}

/** Length of the bytes that both begin with. */
function samePrefix(one: Buffer, other: Buffer): number {
  let [same, different] = [0, Math.min(one.length, other.length) + 1];
  while (different - same > 1) {
    const middle = (same + different) >> 1;
    if (one.compare(other, same, middle, same, middle) === 0) same = middle;
    else different = middle;
  }
  return same;
}

/** Length of the bytes that both end with, not beyond `from`. */
function sameSuffix(one: Buffer, other: Buffer, from: number): number {
  let [same, different] = [0, Math.min(one.length, other.length) - from + 1];
  while (different - same > 1) {
    const middle = (same + different) >> 1;
    const [start, place] = [one.length - middle, other.length - middle];
    if (one.compare(other, place, other.length - same, start, one.length - same) === 0) same = middle;
    else different = middle;
  }
  return same;
}

/** Rows from `start` on, up to where both have the same rest. */
function middles(framer: RowFramer, { before, after, start }: { before: Buffer; after: Buffer; start: number }): [Rows, Rows] {
  const suffix = sameSuffix(before, after, start);
  const [old, now] = [new Rows(framer, before, start), new Rows(framer, after, start)];
  while (old.restBytes > suffix) old.take();
  while (now.restBytes > suffix) now.take();
  // A row may end within the rest that is the same: both go on until they are at the same place of it.
  while (old.restBytes !== now.restBytes) (old.restBytes > now.restBytes ? old : now).take();
  return [old, now];
}

function compare(old: Rows, now: Rows): RowChange[] {
  const changes: RowChange[] = [];
  let [at, place] = [0, 0];
  const comes = (until: number): void => {
    for (; place < until; place += 1) changes.push({ key: now.key(place), after: now.row(place) });
  };
  const goes = (until: number): void => {
    for (; at < until; at += 1) changes.push({ key: old.key(at), before: old.row(at) });
  };
  while (at < old.count && place < now.count) {
    const key = old.key(at);
    if (key.equals(now.key(place))) {
      const [row, other] = [old.row(at++), now.row(place++)];
      if (!row.equals(other)) changes.push({ key, before: row, after: other });
      continue;
    }
    const ahead = lookAhead(old, at, now, place);
    if (ahead === undefined) return [...changes, ...compareByKeys(old, at, now, place)];
    if (ahead.side === 'now') comes(ahead.place);
    else goes(ahead.place);
  }
  comes(now.count);
  goes(old.count);
  return changes;
}

/** Finds the next row of one side that has the key of the other side's row: all before it have come, or gone. */
function lookAhead(old: Rows, at: number, now: Rows, place: number): { side: 'old' | 'now'; place: number } | undefined {
  const [oldKey, nowKey] = [old.key(at), now.key(place)];
  for (let step = 1; step <= MAX_LOOKAHEAD; step += 1) {
    if (place + step < now.count && now.key(place + step).equals(oldKey)) return { side: 'now', place: place + step };
    if (at + step < old.count && old.key(at + step).equals(nowKey)) return { side: 'old', place: at + step };
  }
  return undefined;
}

function compareByKeys(old: Rows, first: number, now: Rows, place: number): RowChange[] {
  const changes: RowChange[] = [];
  const left = new Map<string, number>();
  for (let at = first; at < old.count; at += 1) left.set(old.key(at).toString('latin1'), at);
  for (let next = place; next < now.count; next += 1) {
    const [key, after] = [now.key(next), now.row(next)];
    const name = key.toString('latin1');
    const at = left.get(name);
    left.delete(name);
    if (at === undefined) changes.push({ key, after });
    else if (!old.row(at).equals(after)) changes.push({ key, before: old.row(at), after });
  }
  for (const at of left.values()) changes.push({ key: old.key(at), before: old.row(at) });
  return changes;
}

/** Rows that were taken one after another. */
class Rows {
  /** Where the last one that was taken ends. */
  end: number;
  private readonly starts: number[];
  private readonly keys: Buffer[] = [];

  constructor(
    private readonly framer: RowFramer,
    private readonly bytes: Buffer,
    start: number,
  ) {
    this.end = start;
    this.starts = [start];
  }

  get count(): number {
    return this.keys.length;
  }

  get restBytes(): number {
    return this.bytes.length - this.end;
  }

  take(): void {
    this.end = this.framer.frame(this.bytes, this.end);
    this.keys.push(this.framer.key(this.bytes));
    this.starts.push(this.end);
  }

  row(at: number): Buffer {
    return this.bytes.subarray(this.starts[at], this.starts[at + 1]);
  }

  key(at: number): Buffer {
    return this.keys[at] as Buffer;
  }
}
