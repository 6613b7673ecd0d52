import fc from 'fast-check';
import { LEAVES, ROOTS } from '../testing/certificate-transparency.js';
import { naiveRoot } from '../testing/naive-merkle-tree.js';
import { Frontier } from './merkle-frontier.js';
import { EMPTY_ROOT, type HashedNode, leafHash, MAX_TREE_SIZE, rootNodes } from './merkle-tree.js';

const leaves = Array.from({ length: 300 }, (_, at) => leafHash(Buffer.from(`leaf ${at}`)));

const invalid = expect.objectContaining({ code: 'LEDGER_INVALID' }) as Error;

function grown(size: number): { frontier: Frontier; nodes: HashedNode[] } {
  const frontier = Frontier.empty();
  const nodes = leaves.slice(0, size).flatMap((leaf) => frontier.append(leaf));
  return { frontier, nodes };
}

function textOf(nodes: readonly HashedNode[]): string {
  return nodes.map(({ level, index, hash }) => `${level}/${index} ${hash.toString('hex')}`).join('\n');
}

test('leaves that are appended give the roots that Certificate Transparency knows', () => {
  const frontier = Frontier.empty();
  const roots = [frontier.root()];
  for (const leaf of LEAVES) {
    frontier.append(leafHash(Buffer.from(leaf, 'hex')));
    roots.push(frontier.root());
  }
  expect(roots.map((root) => root.toString('hex'))).toEqual(ROOTS);
});

test('after each leaf, size and root are those of the tree', () => {
  const frontier = Frontier.empty();
  expect(frontier.root()).toEqual(EMPTY_ROOT);
  for (const [at, leaf] of leaves.slice(0, 70).entries()) {
    frontier.append(leaf);
    expect(frontier.size).toBe(at + 1);
    expect(frontier.root()).toEqual(naiveRoot(leaves.slice(0, at + 1)));
  }
});

test('appending tells each perfect subtree once, when its last leaf comes', () => {
  const frontier = Frontier.empty();
  const told = new Set<string>();
  for (const [at, leaf] of leaves.entries()) {
    const nodes = frontier.append(leaf);
    expect(nodes[0]).toEqual({ level: 0, index: at, hash: leaf });
    for (const [level, node] of nodes.entries()) {
      const width = 2 ** level;
      expect(node.level).toBe(level);
      expect((node.index + 1) * width).toBe(at + 1);
      expect(node.hash).toEqual(naiveRoot(leaves.slice(node.index * width, at + 1)));
      told.add(`${level}/${node.index}`);
    }
    expect((at + 1) % 2 ** nodes.length).not.toBe(0);
  }
  const perfect = Array.from({ length: 9 }, (_, level) => Math.floor(leaves.length / 2 ** level)).reduce((sum, count) => sum + count);
  expect(told.size).toBe(perfect);
});

test('a frontier that was stored and restored goes on as the one that was not', () => {
  fc.assert(
    fc.property(fc.nat(leaves.length), fc.nat(20), (size, more) => {
      const { frontier, nodes } = grown(size);
      const hashOf = new Map(nodes.map(({ level, index, hash }) => [`${level}/${index}`, hash]));
      const subtrees = rootNodes(size).map(({ level, index }) => hashOf.get(`${level}/${index}`)!);
      const restored = [Frontier.decode(frontier.encode()), Frontier.restore(size, subtrees), frontier.copy()];
      for (const leaf of leaves.slice(0, more)) {
        const told = frontier.append(leaf);
        for (const other of restored) expect(textOf(other.append(leaf))).toBe(textOf(told));
      }
      for (const other of restored) {
        expect([other.size, other.root(), other.encode()]).toEqual([frontier.size, frontier.root(), frontier.encode()]);
      }
    }),
    { numRuns: 100 },
  );
});

test('its encoded form is the size and the hashes of the subtrees', () => {
  expect(Frontier.empty().encode().toString('hex')).toBe('0000000000000000');
  const expected = Buffer.concat([Buffer.from('0000000000000003', 'hex'), naiveRoot(leaves.slice(0, 2)), leaves[2]!]);
  expect(grown(3).frontier.encode()).toEqual(expected);
});

test('a copy, and what was given to it, change nothing', () => {
  const { frontier } = grown(6);
  const root = frontier.root();
  const leaf = Buffer.from(leaves[6]!);
  const copy = frontier.copy();
  copy.append(leaf);
  const copiedRoot = copy.root();
  leaf.fill(0);
  expect([frontier.size, frontier.root()]).toEqual([6, root]);
  expect(copy.root()).toEqual(copiedRoot);
});

test('the largest tree takes one leaf more, and then none', () => {
  const size = MAX_TREE_SIZE - 1;
  const frontier = Frontier.restore(
    size,
    rootNodes(size).map(() => leaves[0]!),
  );
  expect(frontier.append(leaves[1]!)).toEqual([{ level: 0, index: size, hash: leaves[1] }]);
  const root = frontier.root();
  expect(() => frontier.append(leaves[2]!)).toThrow(RangeError);
  expect([frontier.size, frontier.root()]).toEqual([MAX_TREE_SIZE, root]);
  expect(Frontier.decode(frontier.encode()).root()).toEqual(root);
});

test('what is not a hash is not appended', () => {
  const { frontier } = grown(3);
  for (const leaf of [Buffer.alloc(31), Buffer.alloc(33), 'x'.repeat(32), undefined]) {
    expect(() => frontier.append(leaf as Buffer)).toThrow(RangeError);
  }
  expect(frontier.encode()).toEqual(grown(3).frontier.encode());
});

test('a damaged frontier is refused', () => {
  const bytes = grown(7).frontier.encode();
  const withSize = (size: bigint): Buffer => {
    const changed = Buffer.from(bytes);
    changed.writeBigUInt64BE(size);
    return changed;
  };
  const damaged = [
    Buffer.alloc(0),
    bytes.subarray(0, 7),
    bytes.subarray(0, 8),
    bytes.subarray(0, -1),
    bytes.subarray(0, -32),
    Buffer.concat([bytes, Buffer.alloc(1)]),
    Buffer.concat([bytes, Buffer.alloc(32)]),
    withSize(8n),
    withSize(2n ** 53n + 7n),
    withSize(2n ** 64n - 1n),
  ];
  for (const input of damaged) expect(() => Frontier.decode(input)).toThrow(invalid);
  for (const size of [-1, 0.5, NaN, 2 ** 53]) {
    expect(() => Frontier.restore(size, [])).toThrow(invalid);
  }
  expect(() => Frontier.restore(1, [Buffer.alloc(31)])).toThrow(invalid);
});
