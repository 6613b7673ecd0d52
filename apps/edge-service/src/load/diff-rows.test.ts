import { diffRows } from './diff-rows.js';

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
  const { written, gone } = diffRows(SHAPE, bytesOf(before), bytesOf(after));
  return { written: written.map((bytes) => bytes.toString('latin1')), gone: gone.map((bytes) => bytes.toString('latin1')) };
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

test('rows for random histories: what is written and what has gone lead from one side to the other', () => {
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
    return seed % below;
  };
  for (let round = 0; round < 500; round += 1) {
    const make = (): Map<string, string> => new Map(Array.from({ length: random(12) }, () => [String(random(20)), String(random(3))]));
    const [before, after] = [make(), make()];
    const rows = (state: Map<string, string>): string[][] => [...state].sort().map(([key, value]) => [key, value, 'k']);
    const { written, gone } = diffRows(SHAPE, bytesOf(rows(before)), bytesOf(rows(after)));
    const expectedWritten = rows(after).filter(([key, value]) => before.get(key!) !== value);
    const expectedGone = rows(before).filter(([key]) => !after.has(key!));
    expect(written.map(String)).toEqual(expectedWritten.map((fields) => String(row(...fields))));
    expect(gone.map(String)).toEqual(expectedGone.map(([key]) => String(row('k', key!))));
  }
});

test.each([
  ['it ends within a row', row('a', 'b', 'c').subarray(0, 9)],
  ['a row has another number of fields', row('a', 'b')],
  ['a field has an impossible length', Buffer.from('0003fffffffeffffffffffffffff', 'hex')],
])('bytes are refused where %s', (_, bytes) => {
  expect(() => diffRows(SHAPE, Buffer.alloc(0), bytes)).toThrow(expect.objectContaining({ code: 'CHUNK_CORRUPT' }) as Error);
});
