import { BorderKeysBuilder } from './border-keys.js';
import { SEGMENT_CHECK_BYTES } from './delta-stream.js';
import { sha256 } from './hashes.js';
import { copyRowChange, diffRows, type RowChange } from './row-diff.js';

/** Rows of a segment that are looked up together on the device. */
export const MAX_ROWS_OF_SEGMENT = 4096;
/** Of the rows of a segment, as they were and as they are: a single longer one is a segment of its own. */
const MAX_BYTES = 1 << 20;
/** Where more than this part of the bytes of both sides is of rows that differ, whole chunks are as short, and need no list of keys. */
const MAX_PART = 1 / 4;

/** A segment of rows. */
export interface DeltaRows {
  /** Keys of the rows that were there before, as BorderKeys are encoded; no bytes where there were none. */
  keys: Buffer;
  /** These rows. */
  before: Buffer;
  /** The rows that are there now: those with these keys that are still there, and others. */
  after: Buffer;
  /** As of SegmentEntry. */
  oldCheck: Buffer;
}

/** The rows that differ between the old chunks of a key range and the new ones; undefined where whole chunks are the better answer. */
export function rowsThatDiffer(keyFields: readonly number[], before: Buffer, after: Buffer): RowChange[] | undefined {
  if (before.length === 0 || after.length === 0) return undefined;
  const { changes } = diffRows({ fieldCount: before.readUInt16BE(0), keyFields }, before, after);
  const isLong = bytesOf(changes) > (before.length + after.length) * MAX_PART;
  return isLong || !areFindable(changes) ? undefined : changes;
}

/** Whether rows can be looked up by their keys: none is found by NULL. */
export function areFindable(changes: readonly RowChange[]): boolean {
  return !changes.some(({ key }) => hasNull(key));
}

/** Collects rows that differ into segments. */
export class DeltaRowsBuilder {
  private changes: RowChange[] = [];
  private bytes = 0;

  constructor(private readonly keyFields: readonly number[]) {}

  /** Copies the rows. @returns segments that are full */
  *add(changes: readonly RowChange[]): Generator<DeltaRows> {
    for (const change of changes) {
      const length = bytesOf([change]);
      if (this.changes.length === MAX_ROWS_OF_SEGMENT || this.bytes + length > MAX_BYTES) yield* this.finish();
      this.changes.push(copyRowChange(change));
      this.bytes += length;
    }
  }

  /** @returns the last segment, if there is one */
  *finish(): Generator<DeltaRows> {
    if (this.changes.length === 0) return;
    const old = this.changes.filter(({ before }) => before !== undefined);
    const keys = new BorderKeysBuilder(this.keyFields);
    for (const { key } of old) keys.add(key);
    const before = Buffer.concat(old.map((change) => change.before as Buffer));
    const after = Buffer.concat(this.changes.flatMap((change) => change.after ?? []));
    [this.changes, this.bytes] = [[], 0];
    yield { keys: old.length > 0 ? keys.build().encode() : Buffer.alloc(0), before, after, oldCheck: checkOf(before) };
  }
}

function hasNull(key: Buffer): boolean {
  for (let at = 0; at < key.length;) {
    const length = key.readInt32BE(at);
    if (length < 0) return true;
    at += 4 + length;
  }
  return false;
}

function checkOf(bytes: Buffer): Buffer {
  return sha256(bytes).subarray(0, SEGMENT_CHECK_BYTES);
}

function bytesOf(changes: readonly RowChange[]): number {
  return changes.reduce((sum, { before, after }) => sum + (before?.length ?? 0) + (after?.length ?? 0), 0);
}
