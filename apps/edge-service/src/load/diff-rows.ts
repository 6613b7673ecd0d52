import { WaypostError } from '@waypost/contracts';

/** What tells a row apart: number of its columns, and which of them are its key, in key order. */
interface RowShape {
  fieldCount: number;
  keyFields: readonly number[];
}

/** Rows of a table, before and after. */
export interface RowDiff {
  /** Rows that come or change, as they are afterwards: views into the new bytes. */
  written: Buffer[];
  /** Keys of rows that have gone, each as a row of the key's columns. */
  gone: Buffer[];
  /** Key of the last row afterwards, in the form of BorderKeys; undefined where there is none. */
  lastKey: Buffer | undefined;
}

/**
 * Compares the rows of a key range before and after, by their canonical bytes in binary form. Both are in the order of their keys.
 * @throws WaypostError CHUNK_CORRUPT where the bytes are not whole rows of that shape
 */
export function diffRows(shape: RowShape, before: Buffer, after: Buffer): RowDiff {
  const [old, now] = [new Rows(shape, before), new Rows(shape, after)];
  let first = 0;
  while (first < old.count && first < now.count && old.isSame(first, now, first)) first += 1;
  let [oldEnd, nowEnd] = [old.count, now.count];
  while (oldEnd > first && nowEnd > first && old.isSame(oldEnd - 1, now, nowEnd - 1)) [oldEnd, nowEnd] = [oldEnd - 1, nowEnd - 1];
  const left = new Map<string, number>();
  for (let at = first; at < oldEnd; at += 1) left.set(old.key(at).toString('latin1'), at);
  const written: Buffer[] = [];
  for (let at = first; at < nowEnd; at += 1) {
    const key = now.key(at).toString('latin1');
    const place = left.get(key);
    left.delete(key);
    if (place === undefined || !old.isSame(place, now, at)) written.push(now.row(at));
  }
  const lastKey = now.count > 0 ? now.key(now.count - 1) : undefined;
  return { written, gone: [...left.values()].map((at) => old.keyRow(at)), lastKey };
}

/** Where each row begins in canonical bytes. */
class Rows {
  private readonly starts: number[] = [];

  constructor(
    private readonly shape: RowShape,
    private readonly bytes: Buffer,
  ) {
    let at = 0;
    while (at < bytes.length) {
      this.starts.push(at);
      if (at + 2 > bytes.length || bytes.readUInt16BE(at) !== shape.fieldCount) throw corrupt();
      at += 2;
      for (let field = 0; field < shape.fieldCount; field += 1) at = endOfField(bytes, at);
    }
    if (at !== bytes.length) throw corrupt();
    this.starts.push(at);
  }

  get count(): number {
    return this.starts.length - 1;
  }

  row(at: number): Buffer {
    return this.bytes.subarray(this.starts[at], this.starts[at + 1]);
  }

  isSame(at: number, other: Rows, place: number): boolean {
    const [start, end] = [this.starts[at] as number, this.starts[at + 1] as number];
    const [from, to] = [other.starts[place] as number, other.starts[place + 1] as number];
    return end - start === to - from && this.bytes.compare(other.bytes, from, to, start, end) === 0;
  }

  /** The key's fields, each with its length. */
  key(at: number): Buffer {
    const fields = this.keyFields(at);
    return fields.length === 1 ? (fields[0] as Buffer) : Buffer.concat(fields);
  }

  keyRow(at: number): Buffer {
    const count = Buffer.alloc(2);
    count.writeUInt16BE(this.shape.keyFields.length);
    return Buffer.concat([count, ...this.keyFields(at)]);
  }

  private keyFields(at: number): Buffer[] {
    const { bytes, shape } = this;
    const fields: Buffer[] = [];
    let start = (this.starts[at] as number) + 2;
    for (let field = 0; field < shape.fieldCount; field += 1) {
      const end = endOfField(bytes, start);
      const place = shape.keyFields.indexOf(field);
      if (place >= 0) fields[place] = bytes.subarray(start, end);
      start = end;
    }
    return fields;
  }
}

function endOfField(bytes: Buffer, start: number): number {
  if (start + 4 > bytes.length) throw corrupt();
  const length = bytes.readInt32BE(start);
  if (length < -1) throw corrupt();
  const end = start + 4 + Math.max(length, 0);
  if (end > bytes.length) throw corrupt();
  return end;
}

function corrupt(): WaypostError {
  return new WaypostError('CHUNK_CORRUPT', { detail: 'What a change leads to does not consist of whole rows.' });
}
