import fc from 'fast-check';
import { BorderKeysBuilder } from './border-keys.js';
import { ChunkIndexBuilder } from './chunk-stream.js';
import { Chunker } from './chunker.js';
import { type BorderedIndex, findSegments } from './delta-segments.js';
import { sha256 } from './hashes.js';
import { binaryCopy, int8 } from '../testing/copy-stream.js';

const SHAPE = { format: 'binary', fieldCount: 2, keyFields: [0] } as const;
/** Keys (int8) after which a chunk ends, so that short tables have many chunks. */
const BORDER_KEYS = [9, 108, 763, 885, 922, 1065, 1114, 1210, 1327, 1817];

type Table = Map<number, number>;

interface Cut extends BorderedIndex {
  chunks: Buffer[];
}

function cut(rows: Table): Cut {
  const [index, borders] = [new ChunkIndexBuilder('binary'), new BorderKeysBuilder(SHAPE.keyFields)];
  const chunks: Buffer[] = [];
  const chunker = new Chunker(SHAPE, (view, rowCount, lastKey) => {
    const bytes = Buffer.from(view);
    chunks.push(bytes);
    index.add({ digest: sha256(bytes), rowCount, rawBytes: bytes.length, frameBytes: 1 });
    borders.add(lastKey());
  });
  chunker.push(binaryCopy([...rows].sort(([a], [b]) => a - b).map(([id, value]) => [int8(id), int8(value)])));
  chunker.end();
  return { index: index.build(), borders: borders.build(), chunks };
}

const key = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 2000 }) },
  { weight: 2, arbitrary: fc.constantFrom(...BORDER_KEYS) },
);
const rows = fc.array(fc.tuple(key, fc.nat(3)), { maxLength: 200 }).map((entries): Table => new Map(entries));
const changes = fc.array(fc.tuple(key, fc.option(fc.nat(3))), { maxLength: 8 });

function changed(before: Table, edits: readonly (readonly [number, number | null])[]): Table {
  const after = new Map(before);
  for (const [id, value] of edits) {
    if (value === null) after.delete(id);
    else after.set(id, value);
  }
  return after;
}

test('the later chunks of all segments, put in the place of the earlier ones, make the later table', () => {
  fc.assert(
    fc.property(rows, changes, (before, edits) => {
      const [from, to] = [cut(before), cut(changed(before, edits))];
      const result: Buffer[] = [];
      let at = 0;
      for (const segment of findSegments(from, to)) {
        result.push(...from.chunks.slice(at, segment.from.first), ...to.chunks.slice(segment.to.first, segment.to.end));
        at = segment.from.end;
      }
      expect([...result, ...from.chunks.slice(at)]).toEqual(to.chunks);
    }),
    { numRuns: 1000 },
  );
});

test('a table that has not changed has none, and a changed row one that is its chunk', () => {
  const before: Table = new Map(Array.from({ length: 2000 }, (_, id) => [id, 0]));
  const from = cut(before);
  expect(findSegments(from, cut(before))).toEqual([]);
  const [segment, ...others] = findSegments(from, cut(changed(before, [[1000, 1]])));
  expect(others).toEqual([]);
  expect(segment).toEqual({ from: segment!.to, to: segment!.to });
  expect(segment!.to.end - segment!.to.first).toBe(1);
});

test('what came to an empty table, and what a table lost, is one segment', () => {
  const full = cut(new Map(Array.from({ length: 2000 }, (_, id) => [id, 0])));
  const none = cut(new Map());
  const all = { first: 0, end: full.chunks.length };
  const nothing = { first: 0, end: 0 };
  expect(findSegments(none, full)).toEqual([{ from: nothing, to: all }]);
  expect(findSegments(full, none)).toEqual([{ from: all, to: nothing }]);
});
