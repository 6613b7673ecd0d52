import { EMPTY_ROOT, isTreeHash, isTreeSize, nodeHash } from './merkle-tree.js';

/** A longer proof is refused before it is looked at. No tree of MAX_TREE_SIZE needs more than 53 hashes and one. */
export const MAX_PROOF_HASHES = 64;

/**
 * A leaf is in a tree. Hashes are 32 bytes long. Size and root have to come from one checkpoint that was verified: a proof often fits another size, too, as
 * a root does not say how many leaves it covers.
 */
export interface InclusionClaim {
  leafHash: Uint8Array;
  /** Of the leaf, from 0. */
  index: number;
  /** Leaves of the tree. */
  size: number;
  /** From the leaf to the root. */
  proof: readonly Uint8Array[];
  root: Uint8Array;
}

/** A tree begins with all leaves of an earlier one, in their order. Hashes are 32 bytes long. Sizes and roots have to come from checkpoints that were verified. */
export interface ConsistencyClaim {
  oldSize: number;
  oldRoot: Uint8Array;
  newSize: number;
  newRoot: Uint8Array;
  /** From the leaves to the root. */
  proof: readonly Uint8Array[];
}

/** Whether the proof shows that the leaf is in the tree with this root. Throws nothing, whatever the claim holds. */
export function verifyInclusion(claim: InclusionClaim): boolean {
  return findInclusionFault(claim) === undefined;
}

/** Whether the proof shows that the later tree begins with the earlier one. Throws nothing, whatever the claim holds. */
export function verifyConsistency(claim: ConsistencyClaim): boolean {
  return findConsistencyFault(claim) === undefined;
}

/**
 * Why a proof does not show that the leaf is in the tree, as a sentence; undefined where it does. Throws nothing, whatever the claim holds.
 * The algorithm is that of RFC 9162, 2.1.3.2.
 */
export function findInclusionFault({ leafHash, index, size, proof, root }: InclusionClaim): string | undefined {
  if (!isTreeSize(size)) return 'The size of the tree is not one.';
  if (!isTreeSize(index) || index >= size) return 'The tree has no leaf of this index.';
  if (!isTreeHash(leafHash) || !isTreeHash(root)) return 'A hash is not 32 bytes long.';
  const malformed = findProofFault(proof);
  if (malformed) return malformed;
  const path = new Path(index, size - 1);
  let hash = leafHash;
  for (const sibling of proof) {
    if (path.isAtRoot) return 'The proof has too many hashes.';
    hash = path.climb() === 'left' ? nodeHash(sibling, hash) : nodeHash(hash, sibling);
  }
  if (!path.isAtRoot) return 'The proof has too few hashes.';
  return equal(hash, root) ? undefined : 'The proof leads to another root.';
}

/**
 * Why a proof does not show that the later tree begins with the earlier one, as a sentence; undefined where it does. Throws nothing, whatever the claim holds.
 * The algorithm is that of RFC 9162, 2.1.4.2. Each tree begins with the empty one, and with itself: that needs no hashes.
 */
export function findConsistencyFault({ oldSize, oldRoot, newSize, newRoot, proof }: ConsistencyClaim): string | undefined {
  if (!isTreeSize(oldSize) || !isTreeSize(newSize)) return 'The size of a tree is not one.';
  if (oldSize > newSize) return 'The later tree has fewer leaves than the earlier one.';
  if (!isTreeHash(oldRoot) || !isTreeHash(newRoot)) return 'A hash is not 32 bytes long.';
  const malformed = findProofFault(proof);
  if (malformed) return malformed;
  if (oldSize === 0 && !equal(oldRoot, EMPTY_ROOT)) return 'The root of the empty tree is another one.';
  if (oldSize === newSize && !equal(oldRoot, newRoot)) return 'Two trees of one size have different roots.';
  if (oldSize === 0 || oldSize === newSize) return proof.length === 0 ? undefined : 'The proof has too many hashes.';
  return findGrowthFault({ oldSize, oldRoot, newSize, newRoot, proof });
}

/** As findConsistencyFault, of an earlier tree that has leaves and a later one that has more. */
function findGrowthFault({ oldSize, oldRoot, newSize, newRoot, proof }: ConsistencyClaim): string | undefined {
  const path = new Path(oldSize - 1, newSize - 1);
  path.skipRightChildren();
  // An earlier tree that is perfect is itself the node to start from: the proof leaves it out.
  const [start, ...siblings] = path.index === 0 ? [oldRoot, ...proof] : proof;
  if (start === undefined) return 'The proof has too few hashes.';
  let [oldHash, newHash] = [start, start];
  for (const sibling of siblings) {
    if (path.isAtRoot) return 'The proof has too many hashes.';
    if (path.climb() === 'left') {
      oldHash = nodeHash(sibling, oldHash);
      newHash = nodeHash(sibling, newHash);
    } else {
      newHash = nodeHash(newHash, sibling);
    }
  }
  if (!path.isAtRoot) return 'The proof has too few hashes.';
  if (!equal(oldHash, oldRoot)) return 'The proof leads to another root of the earlier tree.';
  return equal(newHash, newRoot) ? undefined : 'The proof leads to another root of the later tree.';
}

/** The way from a node to the root. RFC 9162 calls the fields fn and sn. Numbers are halved, not shifted: a shift would cut them to 32 bits. */
class Path {
  constructor(
    /** Of the node on its level. */
    public index: number,
    /** The last node's on that level. */
    private last: number,
  ) {}

  get isAtRoot(): boolean {
    return this.last === 0;
  }

  /** Goes up over the next sibling, and says at which side of the path that stands. */
  climb(): 'left' | 'right' {
    const isLeft = this.index % 2 === 1 || this.index === this.last;
    // The last node of a level has no sibling where it is a left child: it is its own parent.
    if (isLeft) while (this.index % 2 === 0 && this.index !== 0) this.up();
    this.up();
    return isLeft ? 'left' : 'right';
  }

  /** Goes up as long as the node is a right child. */
  skipRightChildren(): void {
    while (this.index % 2 === 1) this.up();
  }

  private up(): void {
    this.index = Math.floor(this.index / 2);
    this.last = Math.floor(this.last / 2);
  }
}

function findProofFault(proof: unknown): string | undefined {
  if (!Array.isArray(proof)) return 'The proof is not a list.';
  if (proof.length > MAX_PROOF_HASHES) return `The proof has more than ${MAX_PROOF_HASHES} hashes.`;
  // Array.from: `every` alone would pass over the gaps of a list.
  return Array.from<unknown>(proof).every(isTreeHash) ? undefined : 'A hash is not 32 bytes long.';
}

function equal(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
