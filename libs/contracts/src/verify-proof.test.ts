import fc from 'fast-check';
import { CONSISTENCY_PROOFS, INCLUSION_PROOFS, LEAVES, ROOTS } from '../testing/certificate-transparency.js';
import { naiveConsistency, naivePath, naiveRoot } from '../testing/naive-merkle-tree.js';
import { EMPTY_ROOT, leafHash, MAX_TREE_SIZE, nodeHash } from './merkle-tree.js';
import {
  type ConsistencyClaim,
  findConsistencyFault,
  findInclusionFault,
  type InclusionClaim,
  MAX_PROOF_HASHES,
  verifyConsistency,
  verifyInclusion,
} from './verify-proof.js';

const MAX_SIZE = 70;
const leaves = Array.from({ length: MAX_SIZE }, (_, at) => leafHash(Buffer.from(`leaf ${at}`)));
const roots = Array.from({ length: MAX_SIZE + 1 }, (_, size) => naiveRoot(leaves.slice(0, size)));
/** Up to this size each byte of each proof is changed; of larger trees, one byte of each hash. */
const MAX_SIZE_BYTE_BY_BYTE = 35;

function inclusion(index: number, size: number): InclusionClaim {
  return { leafHash: leaves[index]!, index, size, proof: naivePath(index, leaves.slice(0, size)), root: roots[size]! };
}

function consistency(oldSize: number, newSize: number): ConsistencyClaim {
  const proof = naiveConsistency(oldSize, leaves.slice(0, newSize));
  return { oldSize, oldRoot: roots[oldSize]!, newSize, newRoot: roots[newSize]!, proof };
}

const sizes = Array.from({ length: MAX_SIZE + 1 }, (_, size) => size);
/** All that can be claimed about trees of up to MAX_SIZE leaves. */
const inclusions = sizes.flatMap((size) => Array.from({ length: size }, (_, index) => inclusion(index, size)));
const consistencies = sizes.flatMap((size) => Array.from({ length: size + 1 }, (_, oldSize) => consistency(oldSize, size)));

/** The proof with each byte changed in turn; of a larger tree, with a byte of each hash. */
function* changedProofs(proof: readonly Uint8Array[], size: number): Generator<Uint8Array[]> {
  for (const [at, hash] of proof.entries()) {
    const bytes = size <= MAX_SIZE_BYTE_BY_BYTE ? hash.keys() : [(size + at) % hash.length];
    for (const byte of bytes) yield proof.with(at, changed(hash, byte));
  }
}

/** The proof with hashes dropped, swapped, repeated or added. */
function* rearrangedProofs(proof: readonly Uint8Array[]): Generator<Uint8Array[]> {
  for (let at = 0; at <= proof.length; at += 1) {
    yield proof.toSpliced(at, 0, leaves[0]!);
    yield proof.toSpliced(at, 0, proof[at] ?? EMPTY_ROOT);
    if (at === proof.length) break;
    yield proof.toSpliced(at, 1);
    yield proof.slice(0, at);
    for (let other = at + 1; other < proof.length; other += 1) yield proof.with(at, proof[other]!).with(other, proof[at]!);
  }
}

function changed(hash: Uint8Array, byte: number): Buffer {
  const copy = Buffer.from(hash);
  copy[byte] = copy[byte]! ^ 0x80;
  return copy;
}

/** A failure that names its claim: a matcher for each of a million would take a minute. */
function nameOf(claim: InclusionClaim | ConsistencyClaim): string {
  return 'index' in claim ? `accepted: leaf ${claim.index} of ${claim.size}` : `accepted: ${claim.oldSize} to ${claim.newSize}`;
}

function hexProof(proof: readonly string[]): Buffer[] {
  return proof.map((hash) => Buffer.from(hash, 'hex'));
}

test('proofs that Certificate Transparency knows are accepted', () => {
  const [hashes, known] = [LEAVES.map((leaf) => leafHash(Buffer.from(leaf, 'hex'))), hexProof(ROOTS)];
  for (const { index, size, proof } of INCLUSION_PROOFS) {
    expect(findInclusionFault({ leafHash: hashes[index]!, index, size, proof: hexProof(proof), root: known[size]! })).toBeUndefined();
  }
  for (const { oldSize, newSize, proof } of CONSISTENCY_PROOFS) {
    const claim = { oldSize, oldRoot: known[oldSize]!, newSize, newRoot: known[newSize]!, proof: hexProof(proof) };
    expect(findConsistencyFault(claim)).toBeUndefined();
  }
});

test(`all proofs of trees of up to ${MAX_SIZE} leaves are accepted`, () => {
  for (const claim of inclusions) expect(findInclusionFault(claim)).toBeUndefined();
  for (const claim of consistencies) expect(findConsistencyFault(claim)).toBeUndefined();
});

test('a proof in which any byte is changed is refused', () => {
  for (const claim of inclusions) {
    for (const proof of changedProofs(claim.proof, claim.size)) if (verifyInclusion({ ...claim, proof })) throw new Error(nameOf(claim));
  }
  for (const claim of consistencies) {
    for (const proof of changedProofs(claim.proof, claim.newSize))
      if (verifyConsistency({ ...claim, proof })) throw new Error(nameOf(claim));
  }
});

test('a proof whose hashes are dropped, swapped, repeated or more is refused', () => {
  for (const claim of inclusions) {
    for (const proof of rearrangedProofs(claim.proof)) if (verifyInclusion({ ...claim, proof })) throw new Error(nameOf(claim));
  }
  for (const claim of consistencies) {
    for (const proof of rearrangedProofs(claim.proof)) if (verifyConsistency({ ...claim, proof })) throw new Error(nameOf(claim));
  }
});

test('another leaf, another place or another root is refused', () => {
  for (const claim of inclusions) {
    const places = [...leaves.keys()].filter((index) => index !== claim.index);
    const others = [...places.map((index) => ({ index })), { leafHash: EMPTY_ROOT }, { root: changed(claim.root, claim.index % 32) }];
    for (const other of others) if (verifyInclusion({ ...claim, ...other })) throw new Error(nameOf(claim));
  }
});

test('another root of either tree is refused', () => {
  for (const claim of consistencies) {
    const byte = claim.oldSize % 32;
    expect(verifyConsistency({ ...claim, oldRoot: changed(claim.oldRoot, byte) })).toBe(false);
    // The empty tree is the beginning of any tree.
    if (claim.oldSize > 0) expect(verifyConsistency({ ...claim, newRoot: changed(claim.newRoot, byte) })).toBe(false);
  }
});

test('a tree in which one leaf was altered, dropped or put in is not a continuation', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: MAX_SIZE - 1 }), fc.nat(), fc.nat(), (oldSize, place, more) => {
      const at = place % (oldSize - 1);
      const newSize = oldSize + 1 + (more % (MAX_SIZE - oldSize));
      const histories = [leaves.with(at, EMPTY_ROOT), leaves.toSpliced(at, 1), leaves.toSpliced(at, 0, EMPTY_ROOT)];
      for (const history of histories) {
        const other = history.slice(0, newSize);
        const claim = {
          ...consistency(oldSize, newSize),
          newSize: other.length,
          newRoot: naiveRoot(other),
          proof: naiveConsistency(oldSize, other),
        };
        expect(findConsistencyFault(claim)).toMatch(/another root|different roots/);
      }
    }),
    { numRuns: 200 },
  );
});

test('an inner node is not accepted as a leaf', () => {
  const [left, right] = [leaves[0]!, leaves[1]!];
  const root = nodeHash(left, right);
  expect(verifyInclusion({ leafHash: leafHash(Buffer.concat([left, right])), index: 0, size: 1, proof: [], root })).toBe(false);
});

test('each fault has its reason', () => {
  const claim = inclusion(3, 7);
  expect(findInclusionFault({ ...claim, size: -1 })).toBe('The size of the tree is not one.');
  expect(findInclusionFault({ ...claim, index: 7 })).toBe('The tree has no leaf of this index.');
  expect(findInclusionFault({ ...claim, root: Buffer.alloc(31) })).toBe('A hash is not 32 bytes long.');
  expect(findInclusionFault({ ...claim, proof: claim.proof.slice(1) })).toBe('The proof has too few hashes.');
  expect(findInclusionFault({ ...claim, proof: [...claim.proof, EMPTY_ROOT] })).toBe('The proof has too many hashes.');
  expect(findInclusionFault({ ...claim, index: 2 })).toBe('The proof leads to another root.');
  const growth = consistency(3, 7);
  expect(findConsistencyFault({ ...growth, newSize: 2 ** 53 })).toBe('The size of a tree is not one.');
  expect(findConsistencyFault({ ...growth, oldSize: 8 })).toBe('The later tree has fewer leaves than the earlier one.');
  expect(findConsistencyFault({ ...growth, oldRoot: Buffer.alloc(33) })).toBe('A hash is not 32 bytes long.');
  expect(findConsistencyFault({ ...growth, proof: [] })).toBe('The proof has too few hashes.');
  expect(findConsistencyFault({ ...growth, proof: growth.proof.slice(0, -1) })).toBe('The proof has too few hashes.');
  expect(findConsistencyFault({ ...growth, proof: [...growth.proof, EMPTY_ROOT] })).toBe('The proof has too many hashes.');
  expect(findConsistencyFault({ ...growth, oldRoot: EMPTY_ROOT })).toBe('The proof leads to another root of the earlier tree.');
  expect(findConsistencyFault({ ...growth, newRoot: EMPTY_ROOT })).toBe('The proof leads to another root of the later tree.');
  expect(findConsistencyFault({ ...growth, oldSize: 0 })).toBe('The root of the empty tree is another one.');
  expect(findConsistencyFault({ ...consistency(3, 3), newRoot: EMPTY_ROOT })).toBe('Two trees of one size have different roots.');
  expect(findConsistencyFault({ ...consistency(0, 3), proof: [EMPTY_ROOT] })).toBe('The proof has too many hashes.');
});

test('whatever a claim holds, nothing is thrown and nothing accepted', () => {
  const gap: Uint8Array[] = [];
  gap.length = 3;
  const anything = fc.anything({ withBigInt: true, withTypedArray: true, withNullPrototype: true, withSparseArray: true });
  const number = fc.oneof(anything, fc.nat(), fc.constantFrom(-1, 0.5, NaN, Infinity, MAX_TREE_SIZE, 2 ** 53, 2 ** 64, -0, '7', 7n));
  const hash = fc.oneof(anything, fc.uint8Array({ minLength: 31, maxLength: 33 }));
  const proof = fc.oneof(
    anything,
    fc.array(hash, { maxLength: 70 }),
    fc.constantFrom<unknown>(gap, new Proxy([], {}), 'x'.repeat(32), { length: 2 }),
  );
  fc.assert(
    fc.property(number, number, hash, hash, proof, (one, other, first, second, hashes) => {
      // Only the empty tree would need no proof: its root is not among the hashes that are tried.
      expect(verifyInclusion({ leafHash: first, index: one, size: other, proof: hashes, root: second } as InclusionClaim)).toBe(false);
      const growth = { oldSize: one, oldRoot: first, newSize: other, newRoot: second, proof: hashes } as ConsistencyClaim;
      expect(typeof verifyConsistency(growth)).toBe('boolean');
    }),
    { numRuns: 3000 },
  );
});

test('a proof is refused for its length before it is looked at', () => {
  const long = new Array<Uint8Array>(MAX_PROOF_HASHES + 1).fill(EMPTY_ROOT);
  expect(findInclusionFault({ ...inclusion(0, 7), proof: long })).toBe('The proof has more than 64 hashes.');
  expect(findConsistencyFault({ ...consistency(3, 7), proof: long })).toBe('The proof has more than 64 hashes.');
  const huge: Uint8Array[] = [];
  huge.length = 2 ** 32 - 1;
  expect(verifyInclusion({ ...inclusion(0, 7), proof: huge })).toBe(false);
});

test('the largest trees are verified without loss of bits', () => {
  // The last leaf of the largest tree: each of its 52 siblings is on the left.
  const leaf = leaves[0]!;
  const proof = Array.from({ length: 52 }, (_, at) => leaves[at + 1]!);
  const root = proof.reduce((hash, sibling) => nodeHash(sibling, hash), leaf);
  const claim = { leafHash: leaf, index: MAX_TREE_SIZE - 1, size: MAX_TREE_SIZE, proof, root };
  expect(findInclusionFault(claim)).toBeUndefined();
  expect(verifyInclusion({ ...claim, index: MAX_TREE_SIZE - 2 })).toBe(false);
  // From the largest perfect tree by one leaf.
  const growth = { oldSize: 2 ** 52, oldRoot: leaf, newSize: 2 ** 52 + 1, newRoot: nodeHash(leaf, leaves[1]!), proof: [leaves[1]!] };
  expect(findConsistencyFault(growth)).toBeUndefined();
  expect(verifyConsistency({ ...growth, oldSize: 2 ** 20 })).toBe(false);
});
