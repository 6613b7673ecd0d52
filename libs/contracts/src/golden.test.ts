import { readFileSync } from 'node:fs';
import { BORDER_MASK, CHUNK_SOFT_LIMIT_BYTES, type RowFormat } from './chunker.js';
import { tableSha256 } from './hashes.js';
import { manifestSha256, type Manifest } from './manifest.js';
import { chunksOf, split } from '../testing/copy-stream.js';

// golden/streams.json and golden/manifest.json were written by hand, golden/expected.json by golden/reference.py,
// which shares no code with the TypeScript. A change of these bytes breaks every device in the field.

type Part = string | { part: string; times: number };

interface StreamCase {
  case: string;
  format: RowFormat;
  columns: number;
  keyFields: number[];
  copy: Part[];
}

interface Expected {
  streams: { case: string; chunks: { rowCount: number; bytes: number; sha256: string }[]; tableSha256: string }[];
  manifestSha256: string;
}

function load(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../golden/${name}`, import.meta.url), 'utf8'));
}

function streamBytes({ format, copy }: StreamCase): Buffer {
  const read = (text: string) => (format === 'binary' ? Buffer.from(text.replaceAll(' ', ''), 'hex') : Buffer.from(text));
  return Buffer.concat(
    copy.map((part) => (typeof part === 'string' ? read(part) : Buffer.alloc(part.times * read(part.part).length, read(part.part)))),
  );
}

const streams = load('streams.json') as StreamCase[];
const expected = load('expected.json') as Expected;

describe('golden streams', () => {
  test('every stream has its expectation', () => {
    expect(expected.streams.map((stream) => stream.case)).toEqual(streams.map((stream) => stream.case));
    expect([BORDER_MASK, CHUNK_SOFT_LIMIT_BYTES]).toEqual([255, 1_048_576]);
  });

  test.each(streams.map((stream, at) => ({ ...stream, expected: expected.streams[at] })))('$case', ({ expected, ...stream }) => {
    const shape = { format: stream.format, fieldCount: stream.columns, keyFields: stream.keyFields };
    const bytes = streamBytes(stream);
    for (const pieces of [[bytes], split(bytes, [bytes.length > 100_000 ? 65_536 : 1])]) {
      const chunks = chunksOf(shape, ...pieces);
      expect(chunks.map(({ rowCount, bytes, sha256 }) => ({ rowCount, bytes: bytes.length, sha256 }))).toEqual(expected?.chunks);
      expect(tableSha256(chunks.map(({ sha256 }) => Buffer.from(sha256, 'hex')))).toBe(expected?.tableSha256);
    }
  });
});

test('a golden manifest has the hash that the reference gives it', () => {
  expect(manifestSha256(load('manifest.json') as Manifest)).toBe(expected.manifestSha256);
});
