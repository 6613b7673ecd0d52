import fc from 'fast-check';
import { naiveConsistency, naivePath, naiveRoot } from '../testing/naive-merkle-tree.js';
import { CONSISTENCY_PROOFS, INCLUSION_PROOFS, LEAVES } from '../testing/certificate-transparency.js';
import { Frontier } from './merkle-frontier.js';
import { consistencyNodes, consistencyProof, inclusionNodes, inclusionProof, type ReadHashes } from './merkle-proof.js';
import { leafHash, MAX_TREE_SIZE, type TreeNode } from './merkle-tree.js';

const MAX_SIZE = 70;
const leaves = Array.from({ length: MAX_SIZE }, (_, at) => leafHash(Buffer.from(`leaf ${at}`)));

/** Has the nodes whose subtrees are complete in a tree of that size, as a database would. */
class Store {
  calls = 0;
  private readonly hashes = new Map<string, Buffer>();

  constructor(leafHashes: readonly Buffer[]) {
    const frontier = Frontier.empty();
    for (const leaf of leafHashes) for (const node of frontier.append(leaf)) this.hashes.set(keyOf(node), node.hash);
  }

  read: ReadHashes = async (nodes) => {
    this.calls += 1;
    return nodes.map((node) => this.hashes.get(keyOf(node))!);
  };
}

test('proofs are those that Certificate Transparency knows', async () => {
  const hashes = LEAVES.map((leaf) => leafHash(Buffer.from(leaf, 'hex')));
  for (const { index, size, proof } of INCLUSION_PROOFS) {
    const made = await inclusionProof(index, size, new Store(hashes.slice(0, size)).read);
    expect(made.map((hash) => hash.toString('hex'))).toEqual(proof);
  }
  for (const { oldSize, newSize, proof } of CONSISTENCY_PROOFS) {
    const made = await consistencyProof(oldSize, newSize, new Store(hashes.slice(0, newSize)).read);
    expect(made.map((hash) => hash.toString('hex'))).toEqual(proof);
  }
});

test(`all proofs of trees of up to ${MAX_SIZE} leaves are RFC 9162’s, from complete nodes that are read once`, async () => {
  for (let size = 0; size <= MAX_SIZE; size += 1) {
    const tree = leaves.slice(0, size);
    const store = new Store(tree);
    for (let index = 0; index < size; index += 1) {
      store.calls = 0;
      expect(hex(await inclusionProof(index, size, store.read))).toBe(hex(naivePath(index, tree)));
      expect(store.calls).toBe(size === 1 ? 0 : 1);
    }
    for (let oldSize = 0; oldSize <= size; oldSize += 1) {
      store.calls = 0;
      const expected = naiveConsistency(oldSize, tree);
      expect(hex(await consistencyProof(oldSize, size, store.read))).toBe(hex(expected));
      expect(store.calls).toBe(expected.length === 0 ? 0 : 1);
    }
  }
});

test('a store that has grown since makes the proofs of the smaller trees', async () => {
  const store = new Store(leaves);
  for (const size of [1, 2, 5, 33, 64, 69]) {
    expect(await inclusionProof(size - 1, size, store.read)).toEqual(naivePath(size - 1, leaves.slice(0, size)));
    expect(await consistencyProof(Math.ceil(size / 2), size, store.read)).toEqual(
      naiveConsistency(Math.ceil(size / 2), leaves.slice(0, size)),
    );
  }
});

test('at most one hash of a proof is made of several nodes, and those are the right side of the tree', () => {
  expect(inclusionNodes(0, 7)).toEqual([
    [{ level: 0, index: 1 }],
    [{ level: 1, index: 1 }],
    [
      { level: 1, index: 2 },
      { level: 0, index: 6 },
    ],
  ]);
  expect(consistencyNodes(3, 7)).toEqual([
    [{ level: 0, index: 2 }],
    [{ level: 0, index: 3 }],
    [{ level: 1, index: 0 }],
    [
      { level: 1, index: 2 },
      { level: 0, index: 6 },
    ],
  ]);
});

test('proofs of trees of any size need few nodes, all complete, none twice', () => {
  const size = fc.oneof(fc.integer({ min: 1, max: MAX_TREE_SIZE }), fc.integer({ min: MAX_TREE_SIZE - 9, max: MAX_TREE_SIZE }));
  fc.assert(
    fc.property(size, fc.double({ min: 0, max: 1, noNaN: true }), (newSize, part) => {
      const index = Math.min(Math.floor(part * newSize), newSize - 1);
      for (const entries of [inclusionNodes(index, newSize), consistencyNodes(index + 1, newSize)]) {
        const nodes = entries.flat();
        expect(entries.length).toBeLessThanOrEqual(54);
        expect(entries.filter((entry) => entry.length !== 1).length).toBeLessThanOrEqual(1);
        expect(new Set(nodes.map(keyOf)).size).toBe(nodes.length);
        const ends = nodes.map((node) => BigInt(node.index + 1) * 2n ** BigInt(node.level));
        expect(ends.filter((end) => end > BigInt(newSize))).toEqual([]);
      }
      // Together with the leaf itself, what a proof needs is the whole tree.
      const covered = inclusionNodes(index, newSize)
        .flat()
        .reduce((sum, { level }) => sum + 2n ** BigInt(level), 1n);
      expect(covered).toBe(BigInt(newSize));
    }),
    { numRuns: 300 },
  );
});

test.each([
  [0, 0],
  [1, 1],
  [2, 1],
  [-1, 1],
  [0.5, 1],
  [NaN, 1],
  [0, NaN],
  [0, 2 ** 53],
  [0, Infinity],
  ['0', 8],
  [0n, 8n],
])('a proof for leaf %p of %p is not asked for', async (index, size) => {
  expect(() => inclusionNodes(index as number, size as number)).toThrow(RangeError);
  await expect(inclusionProof(index as number, size as number, neverRead)).rejects.toThrow(RangeError);
});

test.each([
  [2, 1],
  [-1, 1],
  [0.5, 1],
  [NaN, NaN],
  [0, 2 ** 53],
  ['0', 8],
])('a proof from %p to %p leaves is not asked for', async (oldSize, newSize) => {
  expect(() => consistencyNodes(oldSize as number, newSize)).toThrow(RangeError);
  await expect(consistencyProof(oldSize as number, newSize, neverRead)).rejects.toThrow(RangeError);
});

test('a store that lacks a node makes no proof, and the error names the node', async () => {
  const { read } = new Store(leaves.slice(0, 5));
  await expect(inclusionProof(0, 7, read)).rejects.toMatchObject({
    code: 'LEDGER_INVALID',
    detail: 'The ledger has no hash of node 2 on level 1.',
  });
  await expect(consistencyProof(3, 7, read)).rejects.toMatchObject({ code: 'LEDGER_INVALID' });
  await expect(inclusionProof(0, 2, async () => [])).rejects.toMatchObject({ code: 'LEDGER_INVALID' });
  await expect(inclusionProof(0, 2, async () => [Buffer.alloc(31)])).rejects.toMatchObject({ code: 'LEDGER_INVALID' });
  await expect(inclusionProof(0, 2, async () => Promise.reject(new Error('the database is gone')))).rejects.toThrow('the database is gone');
});

test('the root of the whole tree follows from any proof', async () => {
  const proof = await inclusionProof(0, 64, new Store(leaves).read);
  expect(proof.at(-1)).toEqual(naiveRoot(leaves.slice(32, 64)));
});

const neverRead: ReadHashes = () => {
  throw new Error('was read');
};

/** Of one text the matcher makes one comparison; of many buffers, one for each byte. */
function hex(proof: readonly Buffer[]): string {
  return proof.map((hash) => hash.toString('hex')).join('\n');
}

function keyOf({ level, index }: TreeNode): string {
  return `${level}/${index}`;
}
