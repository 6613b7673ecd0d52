import { LEAVES, ROOTS } from '../testing/certificate-transparency.js';
import { naiveRoot } from '../testing/naive-merkle-tree.js';
import {
  EMPTY_ROOT,
  foldHashes,
  isTreeHash,
  isTreeSize,
  leafHash,
  MAX_TREE_SIZE,
  nodeHash,
  perfectNodes,
  rootNodes,
} from './merkle-tree.js';

const leaves = Array.from({ length: 70 }, (_, at) => leafHash(Buffer.from(`leaf ${at}`)));

test('the roots are those that Certificate Transparency knows', () => {
  const hashes = LEAVES.map((leaf) => leafHash(Buffer.from(leaf, 'hex')));
  const roots = ROOTS.map((_, size) =>
    foldHashes(rootNodes(size).map(({ level, index }) => naiveRoot(hashes.slice(index * 2 ** level, (index + 1) * 2 ** level)))),
  );
  expect(roots.map((root) => root.toString('hex'))).toEqual(ROOTS);
  expect(EMPTY_ROOT.toString('hex')).toBe(ROOTS[0]);
});

test('a leaf that looks like a node has another hash than that node', () => {
  const [left, right] = [leaves[0]!, leaves[1]!];
  expect(leafHash(Buffer.concat([left, right]))).not.toEqual(nodeHash(left, right));
});

test('perfect subtrees are the tree, from left to right and from large to small', () => {
  expect(rootNodes(0)).toEqual([]);
  expect(rootNodes(7)).toEqual([
    { level: 2, index: 0 },
    { level: 1, index: 2 },
    { level: 0, index: 6 },
  ]);
  for (let size = 0; size <= leaves.length; size += 1) {
    const hashes = rootNodes(size).map(({ level, index }) => naiveRoot(leaves.slice(index * 2 ** level, (index + 1) * 2 ** level)));
    expect(foldHashes(hashes)).toEqual(naiveRoot(leaves.slice(0, size)));
  }
});

test('numbers beyond 32 bits stay exact', () => {
  expect(rootNodes(2 ** 52)).toEqual([{ level: 52, index: 0 }]);
  const all = rootNodes(MAX_TREE_SIZE);
  expect(all).toHaveLength(53);
  expect(all.at(-1)).toEqual({ level: 0, index: MAX_TREE_SIZE - 1 });
  expect(perfectNodes(2 ** 52, 2 ** 52 + 3)).toEqual([
    { level: 1, index: 2 ** 51 },
    { level: 0, index: 2 ** 52 + 2 },
  ]);
});

test.each([-1, 0.5, NaN, Infinity, 2 ** 53, '8', 8n, null, undefined])('%p is not a size', (value) => {
  expect(isTreeSize(value)).toBe(false);
  expect(() => rootNodes(value as number)).toThrow(RangeError);
});

test.each([
  Buffer.alloc(31),
  Buffer.alloc(33),
  Buffer.alloc(0),
  '0'.repeat(32),
  new Array(32).fill(0),
  null,
  undefined,
  { byteLength: 32 },
])('%p is not a hash', (value) => {
  expect(isTreeHash(value)).toBe(false);
});
