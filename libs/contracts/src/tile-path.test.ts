import fc from 'fast-check';
import { Frontier } from './merkle-frontier.js';
import { leafHash, MAX_TREE_SIZE } from './merkle-tree.js';
import { readTilePath, type Tile, tileNodes, tilePath, tileWidth } from './tile-path.js';

test.each<[string, Tile]>([
  ['tile/0/x001/x234/067', { level: 0, index: 1234067, width: 256 }],
  ['tile/0/x001/x234/067.p/8', { level: 0, index: 1234067, width: 8 }],
  ['tile/0/000', { level: 0, index: 0, width: 256 }],
  ['tile/1/000.p/1', { level: 1, index: 0, width: 1 }],
  ['tile/0/273.p/112', { level: 0, index: 273, width: 112 }],
  ['tile/2/999.p/255', { level: 2, index: 999, width: 255 }],
  ['tile/63/x001/000', { level: 63, index: 1000, width: 256 }],
  ['tile/entries/x123/456', { level: 'entries', index: 123456, width: 256 }],
  ['tile/entries/000.p/17', { level: 'entries', index: 0, width: 17 }],
  ['tile/0/x009/x007/x199/x254/x740/991', { level: 0, index: MAX_TREE_SIZE, width: 256 }],
])('%s is the path of its tile', (path, tile) => {
  expect(tilePath(tile)).toBe(path);
  expect(readTilePath(path)).toEqual(tile);
});

test.each([
  '',
  'tile',
  'tile/0',
  'tile/0/',
  '/tile/0/000',
  'tile/0/000/',
  'tile/0/0',
  'tile/0/00',
  'tile/0/0000',
  'tile/00/000',
  'tile/01/000',
  'tile/64/000',
  'tile/-1/000',
  'tile//000',
  'tile/data/000',
  'tile/0/x000/001',
  'tile/0/x001',
  'tile/0/001/002',
  'tile/0/X001/000',
  'tile/0/x01/000',
  'tile/0/000.p/0',
  'tile/0/000.p/00',
  'tile/0/000.p/01',
  'tile/0/000.p/256',
  'tile/0/000.p/999',
  'tile/0/000.p/',
  'tile/0/000.p',
  'tile/0/000.p/1/',
  'tile/0/000.p/-1',
  'tile/0/000\n',
  'tile/0/０００',
  'tile/0/../000',
  'tile/0/%30%30%30',
  'tile/0/x009/x007/x199/x254/x740/992',
  'tile/0/x999/x999/x999/x999/x999/999',
  'tile/0/x001/x000/x000/x000/x000/x000/000',
  `tile/0/${'x000/'.repeat(100_000)}000`,
  'checkpoint',
])('%j is no path of a tile', (path) => {
  expect(readTilePath(path.slice(0, 600_000))).toBeUndefined();
});

test.each<Partial<Record<keyof Tile, unknown>>>([
  { level: -1 },
  { level: 64 },
  { level: 0.5 },
  { level: NaN },
  { index: -1 },
  { index: 0.5 },
  { index: 2 ** 53 },
  { width: 0 },
  { width: 257 },
  { width: 1.5 },
])('a tile with %j has no path', (change) => {
  expect(() => tilePath({ level: 0, index: 0, width: 256, ...change } as Tile)).toThrow(RangeError);
});

test('each tile has a path of its own', () => {
  const tile = fc.record({
    level: fc.oneof(fc.nat(63), fc.constant('entries' as const)),
    index: fc.oneof(fc.nat(2000), fc.nat(MAX_TREE_SIZE)),
    width: fc.integer({ min: 1, max: 256 }),
  });
  fc.assert(
    fc.property(tile, (one) => {
      expect(readTilePath(tilePath(one))).toEqual(one);
    }),
  );
});

test('whatever is asked for, a path that is read is the only one of its tile', () => {
  const part = fc.constantFrom('tile', '/', '0', '000', 'x001', '.p', 'entries', '1', '255', '256');
  fc.assert(
    fc.property(fc.array(part, { maxLength: 10 }), (parts) => {
      const path = parts.join('');
      const tile = readTilePath(path);
      if (tile) expect(tilePath(tile)).toBe(path);
    }),
    { numRuns: 2000 },
  );
});

test('a tree of 70,000 leaves has the tiles that C2SP counts', () => {
  const widths = (level: number, count: number): number[] =>
    Array.from({ length: count }, (_, index) => tileWidth({ level, index }, 70_000));
  expect(widths(0, 275)).toEqual([...new Array<number>(273).fill(256), 112, 0]);
  expect(widths(1, 3)).toEqual([256, 17, 0]);
  expect(widths(2, 2)).toEqual([1, 0]);
  expect(widths(3, 1)).toEqual([0]);
  expect(tileWidth({ level: 'entries', index: 273 }, 70_000)).toBe(112);
});

test('a tree of 256 leaves has a whole tile and the first hash of the next level', () => {
  expect([tileWidth({ level: 0, index: 0 }, 256), tileWidth({ level: 1, index: 0 }, 256)]).toEqual([256, 1]);
  expect([tileWidth({ level: 0, index: 0 }, 255), tileWidth({ level: 1, index: 0 }, 255)]).toEqual([255, 0]);
});

test('the largest tree has tiles up to level 6', () => {
  const last = Math.floor((MAX_TREE_SIZE - 1) / 256);
  expect(tileWidth({ level: 0, index: last }, MAX_TREE_SIZE)).toBe(255);
  expect(tileWidth({ level: 0, index: last + 1 }, MAX_TREE_SIZE)).toBe(0);
  expect(tileWidth({ level: 6, index: 0 }, MAX_TREE_SIZE)).toBe(31);
  expect(tileWidth({ level: 7, index: 0 }, MAX_TREE_SIZE)).toBe(0);
  expect(tileWidth({ level: 63, index: MAX_TREE_SIZE }, MAX_TREE_SIZE)).toBe(0);
});

test('the nodes of all tiles are complete, and those of a tree at these levels', () => {
  const size = 66_000;
  const frontier = Frontier.empty();
  const leaf = leafHash(Buffer.alloc(0));
  const complete = new Set<string>();
  for (let at = 0; at < size; at += 1) {
    for (const { level, index } of frontier.append(leaf)) if (level % 8 === 0) complete.add(`${level}/${index}`);
  }
  const held = new Set<string>();
  for (let level = 0; level < 4; level += 1) {
    for (let index = 0; ; index += 1) {
      const width = tileWidth({ level, index }, size);
      if (width === 0) break;
      for (const node of tileNodes({ level, index, width })) held.add(`${node.level}/${node.index}`);
    }
  }
  expect([...complete].filter((node) => !held.has(node))).toEqual([]);
  expect(held.size).toBe(complete.size);
  expect(tileNodes({ level: 'entries', index: 3, width: 2 })).toEqual(tileNodes({ level: 0, index: 3, width: 2 }));
});
