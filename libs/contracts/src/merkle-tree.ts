import { sha256 } from './hashes.js';

/** Length of a SHA-256. */
export const HASH_BYTES = 32;
/** A tree has at most so many leaves: larger numbers are not exact in JavaScript. */
export const MAX_TREE_SIZE = Number.MAX_SAFE_INTEGER;
/** Root of the tree without leaves: the SHA-256 of no bytes. */
export const EMPTY_ROOT: Buffer = sha256(Buffer.alloc(0));

/** The level of the largest perfect subtree that a tree can have: 2^52 leaves. */
const MAX_LEVEL = 52;
// Different first bytes, so that no leaf can be shown as a node.
const LEAF_PREFIX = Buffer.of(0x00);
const NODE_PREFIX = 0x01;
/** What an inner node's hash is made of: written for each, and read before anything else runs. */
const node = Buffer.alloc(1 + 2 * HASH_BYTES, NODE_PREFIX);

/**
 * A node whose subtree is perfect: it has 2^level leaves, from leaf `index * 2^level` on. Its hash never changes once all its leaves are there. Level 0 are
 * the leaves.
 */
export interface TreeNode {
  level: number;
  index: number;
}

/** A node and its hash of 32 bytes. */
export interface HashedNode extends TreeNode {
  hash: Buffer;
}

/** Hash of a leaf (RFC 9162, 2.1.1): SHA-256 over a zero byte and the data. */
export function leafHash(data: Uint8Array): Buffer {
  return sha256(Buffer.concat([LEAF_PREFIX, data]));
}

/** Hash of an inner node (RFC 9162, 2.1.1): SHA-256 over a one byte and the hashes of both children, of 32 bytes each. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  node.set(left, 1);
  node.set(right, 1 + HASH_BYTES);
  return sha256(node);
}

/** Whether a value is an integer from 0 to MAX_TREE_SIZE. */
export function isTreeSize(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Whether a value is 32 bytes. */
export function isTreeHash(value: unknown): boolean {
  return value instanceof Uint8Array && value.byteLength === HASH_BYTES;
}

/**
 * The perfect subtrees that a tree of this size consists of, from left to right: each is smaller than the one before it. `foldHashes` makes the root of their
 * hashes.
 * @throws RangeError where it is not a size
 */
export function rootNodes(size: number): TreeNode[] {
  if (!isTreeSize(size)) throw new RangeError(`${size} is not the size of a tree`);
  return perfectNodes(0, size);
}

/**
 * The perfect subtrees of the leaves from `begin` to before `end`, from left to right.
 * @param begin a multiple of the smallest power of two that is not less than the number of leaves, as it is for each subtree of RFC 9162
 */
export function perfectNodes(begin: number, end: number): TreeNode[] {
  const leaves = end - begin;
  const whole = Math.round(Math.log2(leaves));
  if (leaves > 0 && 2 ** whole === leaves) return [{ level: whole, index: begin / leaves }];
  const nodes: TreeNode[] = [];
  let start = begin;
  for (let level = MAX_LEVEL; level >= 0; level -= 1) {
    const width = 2 ** level;
    if (end - start < width) continue;
    nodes.push({ level, index: start / width });
    start += width;
  }
  return nodes;
}

/** Hash of a subtree from those of its perfect subtrees, which come from left to right; EMPTY_ROOT where there are none. */
export function foldHashes(hashes: readonly Buffer[]): Buffer {
  // From the right: RFC 9162 splits off the largest perfect subtree first, so that it is joined last.
  return hashes.length === 0 ? EMPTY_ROOT : hashes.reduceRight((right, left) => nodeHash(left, right));
}

/** Hash of a perfect subtree from those of 2^n nodes of one level that stand beside each other. @param hashes 32 bytes each, one after another */
export function foldPerfect(hashes: Buffer): Buffer {
  let level = Array.from({ length: hashes.length / HASH_BYTES }, (_, at) => hashes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES));
  while (level.length > 1) {
    level = Array.from({ length: level.length / 2 }, (_, at) => nodeHash(level[2 * at] as Buffer, level[2 * at + 1] as Buffer));
  }
  return level[0] as Buffer;
}
