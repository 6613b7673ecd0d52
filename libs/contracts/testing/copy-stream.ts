import { Chunker, type RowFormat } from '../src/chunker.js';
import { sha256 } from '../src/hashes.js';

/** A binary field: its bytes, or NULL. */
export type Field = Buffer | null;

export const BINARY_HEADER = Buffer.from('5047434f50590aff0d0a000000000000000000', 'hex');
export const BINARY_TRAILER = Buffer.from('ffff', 'hex');

/** A row as `COPY … (FORMAT binary)` writes it. */
export function binaryRow(fields: readonly Field[]): Buffer {
  return Buffer.concat([
    uint16(fields.length),
    ...fields.flatMap((field) => (field === null ? [int32(-1)] : [int32(field.length), field])),
  ]);
}

/** A whole binary COPY stream. */
export function binaryCopy(rows: readonly (readonly Field[])[]): Buffer {
  return Buffer.concat([BINARY_HEADER, ...rows.map(binaryRow), BINARY_TRAILER]);
}

export function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

export function int8(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(BigInt(value));
  return bytes;
}

export interface Shape {
  format: RowFormat;
  fieldCount: number;
  keyFields: readonly number[];
}

export interface Chunk {
  bytes: Buffer;
  rowCount: number;
  sha256: string;
}

/** Collects the chunks that a chunker hands out, as copies. */
export function collect(shape: Shape): { chunker: Chunker; chunks: Chunk[] } {
  const chunks: Chunk[] = [];
  const chunker = new Chunker(shape, (view, rowCount) => {
    const bytes = Buffer.from(view);
    chunks.push({ bytes, rowCount, sha256: sha256(bytes).toString('hex') });
  });
  return { chunker, chunks };
}

/** The chunks of a stream that arrives in the pieces given. */
export function chunksOf(shape: Shape, ...pieces: readonly Buffer[]): Chunk[] {
  const { chunker, chunks } = collect(shape);
  for (const piece of pieces) chunker.push(piece);
  chunker.end();
  return chunks;
}

/** Splits a stream into pieces of the given sizes, again and again until its end. */
export function split(stream: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0, turn = 0; at < stream.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1;
    pieces.push(stream.subarray(at, at + size));
    at += size;
  }
  return pieces;
}
