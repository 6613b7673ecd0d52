import { WaypostError } from './errors.js';

const COUNT_BYTES = 2;
const LENGTH_BYTES = 4;

/** What tells a binary row apart: the number of its columns, and which of them are its key, in key order. */
export interface RowShape {
  fieldCount: number;
  keyFields: readonly number[];
}

/** Finds where binary rows end, and their keys, without decoding a value. */
export class RowFramer {
  private readonly starts: Int32Array;
  private readonly ends: Int32Array;
  private readonly lastField: number;

  constructor(private readonly shape: RowShape) {
    this.starts = new Int32Array(shape.fieldCount);
    this.ends = new Int32Array(shape.fieldCount);
    this.lastField = shape.keyFields.at(-1) as number;
  }

  /** Where the key's last field ends, of the row that was framed last. */
  get keyEnd(): number {
    return this.ends[this.lastField] as number;
  }

  /**
   * @returns where the row ends
   * @throws WaypostError CHUNK_CORRUPT where the bytes are not a whole row of that shape
   */
  frame(bytes: Buffer, start: number): number {
    const { starts, ends } = this;
    if (start + COUNT_BYTES > bytes.length || bytes.readUInt16BE(start) !== starts.length) throw corrupt();
    let at = start + COUNT_BYTES;
    for (let field = 0; field < starts.length; field += 1) {
      if (at + LENGTH_BYTES > bytes.length) throw corrupt();
      const length = bytes.readInt32BE(at);
      if (length < -1) throw corrupt();
      starts[field] = at;
      at += length > 0 ? LENGTH_BYTES + length : LENGTH_BYTES;
      ends[field] = at;
    }
    if (at > bytes.length) throw corrupt();
    return at;
  }

  /** Of the row that was framed last: its key's fields, each with its length, in the form of BorderKeys. */
  key(bytes: Buffer): Buffer {
    const fields = this.shape.keyFields.map((field) => bytes.subarray(this.starts[field], this.ends[field]));
    return fields.length === 1 ? (fields[0] as Buffer) : Buffer.concat(fields);
  }

  /** The key of the row that begins there. @throws WaypostError CHUNK_CORRUPT */
  keyAt(bytes: Buffer, start: number): Buffer {
    this.frame(bytes, start);
    return this.key(bytes);
  }
}

/** A key as a row of the key's columns. */
export function keyRow({ keyFields }: RowShape, key: Buffer): Buffer {
  const count = Buffer.alloc(COUNT_BYTES);
  count.writeUInt16BE(keyFields.length);
  return Buffer.concat([count, key]);
}

function corrupt(): WaypostError {
  return new WaypostError('CHUNK_CORRUPT', { detail: 'Bytes that should be rows are not whole rows.' });
}
