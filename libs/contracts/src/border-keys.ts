import { WaypostError } from './errors.js';

const COUNT_BYTES = 4;
const POSITION_BYTES = 2;

/**
 * The key of each chunk's last row, in the order of the chunks: where each chunk ends. A row lies in the first chunk whose border key is not less than the
 * row's; a row behind all of them lies in the last chunk. Only the database knows the order of keys: here they are bytes.
 *
 * Encoded: number of key fields (32 bit), their positions among the row's columns (16 bit each), number of chunks (32 bit), then the keys as the Chunker
 * gives them. Integers are big-endian.
 */
export class BorderKeys {
  private constructor(
    /** Positions of the key's columns among the row's columns, in key order. */
    readonly keyFields: readonly number[],
    private readonly bytes: Buffer,
    /** Where each key begins, and where the last one ends. */
    private readonly starts: Float64Array,
  ) {}

  /** @throws WaypostError CHUNK_CORRUPT */
  static decode(bytes: Buffer): BorderKeys {
    try {
      const fieldCount = bytes.readUInt32BE(0);
      const keyFields = Array.from({ length: fieldCount }, (_, at) => bytes.readUInt16BE(COUNT_BYTES + at * POSITION_BYTES));
      const countAt = COUNT_BYTES + fieldCount * POSITION_BYTES;
      const starts = new Float64Array(bytes.readUInt32BE(countAt) + 1);
      let at = countAt + COUNT_BYTES;
      for (let key = 0; key < starts.length; key += 1) {
        starts[key] = at;
        if (key === starts.length - 1) break;
        for (let field = 0; field < fieldCount; field += 1) at = fieldEnd(bytes, at);
      }
      if (at === bytes.length) return new BorderKeys(keyFields, bytes, starts);
      throw new RangeError('bytes follow the last key');
    } catch (cause) {
      throw new WaypostError('CHUNK_CORRUPT', { detail: 'The border keys of a table are damaged.', cause });
    }
  }

  /** Number of chunks. */
  get length(): number {
    return this.starts.length - 1;
  }

  /** A chunk's key, in the form that the Chunker gives it. */
  key(chunk: number): Buffer {
    return this.bytes.subarray(this.starts[chunk], this.starts[chunk + 1]);
  }

  /** One field of the keys of chunks, each with its length before it. @param field its place within the key */
  column(field: number, chunks: Iterable<number>): Buffer[] {
    return Array.from(chunks, (chunk) => {
      let start = this.starts[chunk] as number;
      for (let skipped = 0; skipped < field; skipped += 1) start = fieldEnd(this.bytes, start);
      return this.bytes.subarray(start, fieldEnd(this.bytes, start));
    });
  }

  encode(): Buffer {
    return this.bytes;
  }
}

/** Collects border keys in the order of the chunks. */
export class BorderKeysBuilder {
  private readonly keys: Buffer[] = [];

  /** @param keyFields positions of the key's columns among the row's columns, in key order */
  constructor(private readonly keyFields: readonly number[]) {}

  add(key: Buffer): void {
    this.keys.push(key);
  }

  build(): BorderKeys {
    const head = Buffer.alloc(COUNT_BYTES + this.keyFields.length * POSITION_BYTES + COUNT_BYTES);
    head.writeUInt32BE(this.keyFields.length);
    for (const [at, field] of this.keyFields.entries()) head.writeUInt16BE(field, COUNT_BYTES + at * POSITION_BYTES);
    head.writeUInt32BE(this.keys.length, head.length - COUNT_BYTES);
    return BorderKeys.decode(Buffer.concat([head, ...this.keys]));
  }
}

function fieldEnd(bytes: Buffer, start: number): number {
  const length = bytes.readInt32BE(start);
  // -1: NULL, in a table whose key is none.
  const end = start + 4 + Math.max(length, 0);
  if (length < -1 || end > bytes.length) throw new RangeError('a field ends outside');
  return end;
}
