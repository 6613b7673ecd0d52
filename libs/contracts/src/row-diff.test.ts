import fc from 'fast-check';
import { diffRows } from './row-diff.js';
import { keyRow } from './row-framer.js';

const SHAPE = { fieldCount: 3, keyFields: [2, 0] };

/** A row of texts; null where there is none. */
function row(...fields: (string | null)[]): Buffer {
  const count = Buffer.alloc(2);
  count.writeUInt16BE(fields.length);
  const parts = fields.map((field) => {
    const length = Buffer.alloc(4);
    length.writeInt32BE(field === null ? -1 : Buffer.byteLength(field));
    return Buffer.concat([length, Buffer.from(field ?? '')]);
  });
  return Buffer.concat([count, ...parts]);
}

const bytesOf = (rows: (string | null)[][]): Buffer => Buffer.concat(rows.map((fields) => row(...fields)));

const diff = (before: (string | null)[][], after: (string | null)[][]): { written: string[]; gone: string[] } => {
  const { changes } = diffRows(SHAPE, bytesOf(before), bytesOf(after));
  return {
    written: changes.flatMap((change) => change.after?.toString('latin1') ?? []),
    gone: changes.filter((change) => !change.after).map(({ key }) => keyRow(SHAPE, key).toString('latin1')),
  };
};
const text = (...fields: (string | null)[]): string => row(...fields).toString('latin1');

test('rows that are the same on both sides are in no diff', () => {
  const rows = [
    ['a', null, '1'],
    ['b', 'x', '1'],
  ];
  expect(diff(rows, rows)).toEqual({ written: [], gone: [] });
  expect(diff([], [])).toEqual({ written: [], gone: [] });
});

test('a row that changes, comes, goes, or takes another key', () => {
  const before = [
    ['a', 'same', '1'],
    ['b', 'old', '1'],
    ['c', 'goes', '1'],
    ['d', 'moves', '1'],
    ['e', 'same', '1'],
  ];
  const after = [
    ['a', 'same', '1'],
    ['aa', 'comes', '1'],
    ['b', 'new', '1'],
    ['dd', 'moves', '1'],
    ['e', 'same', '1'],
  ];
  expect(diff(before, after)).toEqual({
    written: [text('aa', 'comes', '1'), text('b', 'new', '1'), text('dd', 'moves', '1')],
    gone: [text('1', 'c'), text('1', 'd')],
  });
});

test('NULL is another value than an empty text', () => {
  expect(diff([['a', null, '1']], [['a', '', '1']])).toEqual({ written: [text('a', '', '1')], gone: [] });
});

test('random histories, of few rows and of many: what differs leads from one side to the other, and the ends are what they are', () => {
  const state = fc
    .tuple(fc.constantFrom(8, 60, 400), fc.array(fc.tuple(fc.nat(), fc.nat(2)), { maxLength: 150 }))
    .map(([range, rows]) => new Map(rows.map(([key, value]) => [String(key % range).padStart(3, '0'), String(value)])));
  fc.assert(
    fc.property(state, state, fc.boolean(), (before, other, isNear) => {
      const after = isNear ? new Map([...before, ...[...other].slice(0, 5)]) : other;
      if (isNear) for (const key of [...other.keys()].slice(5, 8)) after.delete(key);
      const rows = (of: Map<string, string>): string[][] => [...of].sort().map(([key, value]) => [key, value, 'k']);
      const { changes, endsAlike } = diffRows(SHAPE, bytesOf(rows(before)), bytesOf(rows(after)));
      const named = changes.map((change) => [change.key, change.before, change.after].map((bytes) => bytes?.toString('latin1')));
      const keys = [...new Set([...before.keys(), ...after.keys()])].filter((key) => before.get(key) !== after.get(key));
      const rowOf = (of: Map<string, string>, key: string): string | undefined => (of.has(key) ? text(key, of.get(key)!, 'k') : undefined);
      const expected = keys.map((key) => [text('k', key).slice(2), rowOf(before, key), rowOf(after, key)]);
      expect(named.sort()).toEqual(expected.sort());
      const [lastBefore, lastAfter] = [rows(before).at(-1), rows(after).at(-1)];
      if (endsAlike) expect(lastAfter === undefined || String(lastAfter) === String(lastBefore)).toBe(true);
      else if (changes.length > 0) expect(String(lastAfter)).not.toBe(String(lastBefore));
    }),
    { numRuns: 2000 },
  );
});

test.each([
  ['it ends within a row', row('a', 'b', 'c').subarray(0, 9)],
  ['a row has another number of fields', row('a', 'b')],
  ['a field has an impossible length', Buffer.from('0003fffffffeffffffffffffffff', 'hex')],
])('bytes are refused where %s', (_, bytes) => {
  expect(() => diffRows(SHAPE, Buffer.alloc(0), bytes)).toThrow(expect.objectContaining({ code: 'CHUNK_CORRUPT' }) as Error);
});
