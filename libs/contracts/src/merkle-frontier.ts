import { WaypostError } from './errors.js';
import { foldHashes, HASH_BYTES, type HashedNode, isTreeHash, isTreeSize, MAX_TREE_SIZE, nodeHash, rootNodes } from './merkle-tree.js';

const SIZE_BYTES = 8;

/**
 * All of a tree that appending needs: hashes of the perfect subtrees that it consists of, at most 53.
 *
 * Encoded: number of leaves (64 bit, big-endian), then the hashes, 32 bytes each, from left to right.
 */
export class Frontier {
  private constructor(
    private leaves: number,
    /** Of `rootNodes(leaves)`. */
    private readonly hashes: Buffer[],
  ) {}

  /** Of the tree without leaves. */
  static empty(): Frontier {
    return new Frontier(0, []);
  }

  /**
   * Of a tree whose nodes a store has.
   * @param hashes those of `rootNodes(size)`, in order; they are copied
   * @throws WaypostError LEDGER_INVALID where it is not a size, or these are not as many hashes
   */
  static restore(size: number, hashes: readonly Uint8Array[]): Frontier {
    if (!isTreeSize(size)) throw damaged('its size is not one');
    if (hashes.length !== rootNodes(size).length) throw damaged(`a tree of ${size} leaves does not consist of ${hashes.length} subtrees`);
    if (!hashes.every(isTreeHash)) throw damaged(`a hash is not ${HASH_BYTES} bytes long`);
    return new Frontier(
      size,
      hashes.map((hash) => Buffer.from(hash)),
    );
  }

  /** @throws WaypostError LEDGER_INVALID */
  static decode(bytes: Buffer): Frontier {
    if (bytes.length < SIZE_BYTES) throw damaged('it has no size');
    const hashes: Buffer[] = [];
    for (let at = SIZE_BYTES; at < bytes.length; at += HASH_BYTES) hashes.push(bytes.subarray(at, at + HASH_BYTES));
    // A size beyond 2^53 becomes a number that is not a size.
    return Frontier.restore(Number(bytes.readBigUInt64BE(0)), hashes);
  }

  encode(): Buffer {
    const size = Buffer.alloc(SIZE_BYTES);
    size.writeBigUInt64BE(BigInt(this.leaves));
    return Buffer.concat([size, ...this.hashes]);
  }

  /** One of its own: appending to it changes nothing here. */
  copy(): Frontier {
    return new Frontier(this.leaves, [...this.hashes]);
  }

  /** Number of leaves. */
  get size(): number {
    return this.leaves;
  }

  /** Hash of the whole tree; EMPTY_ROOT without leaves. */
  root(): Buffer {
    return foldHashes(this.hashes);
  }

  /**
   * Adds a leaf.
   * @returns the nodes that are complete now, from the leaf upwards: two per leaf on average. Of all calls together, these are all nodes of the tree whose
   * subtrees are perfect, each once.
   * @throws RangeError where it is not a hash, or the tree is full; nothing was changed then
   */
  append(leaf: Uint8Array): HashedNode[] {
    if (!isTreeHash(leaf)) throw new RangeError(`the hash of a leaf has ${HASH_BYTES} bytes`);
    if (this.leaves === MAX_TREE_SIZE) throw new RangeError('the tree is full');
    let node: HashedNode = { level: 0, index: this.leaves, hash: Buffer.from(leaf) };
    const completed = [node];
    // A node of an odd index is a right child: its left sibling is the smallest of the subtrees.
    while (node.index % 2 === 1) {
      const left = this.hashes.pop() as Buffer;
      node = { level: node.level + 1, index: (node.index - 1) / 2, hash: nodeHash(left, node.hash) };
      completed.push(node);
    }
    this.hashes.push(node.hash);
    this.leaves += 1;
    return completed;
  }
}

function damaged(why: string): WaypostError {
  return new WaypostError('LEDGER_INVALID', { detail: `The ledger's frontier is damaged: ${why}.` });
}
