import { WaypostError } from './errors.js';
import { foldHashes, isTreeHash, isTreeSize, perfectNodes, type TreeNode } from './merkle-tree.js';

/**
 * What one hash of a proof is made of: perfect subtrees from left to right, whose hashes `foldHashes` joins. More than one only where the hash covers the
 * incomplete right side of a tree, which at most one hash of a proof does.
 */
export type ProofEntry = readonly TreeNode[];

/** Gives the hashes of nodes, in the order of the nodes. The nodes are different from each other, and all of them are complete in the tree. */
export type ReadHashes = (nodes: readonly TreeNode[]) => Promise<readonly Buffer[]>;

/**
 * What the proof consists of that a leaf is in a tree (RFC 9162, 2.1.3.1), from the leaf to the root.
 * @param index of the leaf, from 0
 * @param size of the tree
 * @throws RangeError where the tree has no such leaf
 */
export function inclusionNodes(index: number, size: number): ProofEntry[] {
  if (!isTreeSize(size) || !isTreeSize(index) || index >= size) throw new RangeError(`no tree of ${size} leaves has leaf ${index}`);
  const entries: ProofEntry[] = [];
  let [begin, end] = [0, size];
  while (end - begin > 1) {
    const middle = splitOf(begin, end);
    if (index < middle) {
      entries.push(perfectNodes(middle, end));
      end = middle;
    } else {
      entries.push(perfectNodes(begin, middle));
      begin = middle;
    }
  }
  return entries.reverse();
}

/**
 * What the proof consists of that a tree begins with all leaves of an earlier one (RFC 9162, 2.1.4.1), from the leaves to the root. Empty where the earlier
 * tree is empty, or the same.
 * @throws RangeError where these are not the sizes of an earlier and a later tree
 */
export function consistencyNodes(oldSize: number, newSize: number): ProofEntry[] {
  if (!isTreeSize(newSize) || !isTreeSize(oldSize) || oldSize > newSize)
    throw new RangeError(`no tree grows from ${oldSize} to ${newSize} leaves`);
  if (oldSize === 0) return [];
  const entries: ProofEntry[] = [];
  let [begin, end] = [0, newSize];
  while (end !== oldSize) {
    const middle = splitOf(begin, end);
    if (oldSize <= middle) {
      entries.push(perfectNodes(middle, end));
      end = middle;
    } else {
      entries.push(perfectNodes(begin, middle));
      begin = middle;
    }
  }
  // From leaf 0 on, what is left is the whole earlier tree: the verifier has its root.
  if (begin > 0) entries.push(perfectNodes(begin, end));
  return entries.reverse();
}

/**
 * Makes the proof that a leaf is in a tree; verifyInclusion accepts it.
 * @param read called once; not at all where the leaf is the whole tree
 * @throws RangeError as inclusionNodes
 * @throws WaypostError LEDGER_INVALID where `read` does not give a hash for each node; and what `read` throws
 */
export async function inclusionProof(index: number, size: number, read: ReadHashes): Promise<Buffer[]> {
  return makeProof(inclusionNodes(index, size), read);
}

/**
 * Makes the proof that a tree begins with all leaves of an earlier one; verifyConsistency accepts it.
 * @param read called once; not at all where the proof is empty
 * @throws RangeError as consistencyNodes
 * @throws WaypostError LEDGER_INVALID where `read` does not give a hash for each node; and what `read` throws
 */
export async function consistencyProof(oldSize: number, newSize: number, read: ReadHashes): Promise<Buffer[]> {
  return makeProof(consistencyNodes(oldSize, newSize), read);
}

async function makeProof(entries: readonly ProofEntry[], read: ReadHashes): Promise<Buffer[]> {
  const nodes = entries.flat();
  if (nodes.length === 0) return [];
  const hashes = await read(nodes);
  const missing = nodes.find((_, at) => !isTreeHash(hashes[at]));
  if (missing)
    throw new WaypostError('LEDGER_INVALID', { detail: `The ledger has no hash of node ${missing.index} on level ${missing.level}.` });
  let next = 0;
  return entries.map((entry) => foldHashes(hashes.slice(next, (next += entry.length))));
}

/** Where RFC 9162 splits the leaves from `begin` to before `end`, two at least: the left side has the largest power of two that is less than their number. */
function splitOf(begin: number, end: number): number {
  let left = 1;
  while (left * 2 < end - begin) left *= 2;
  return begin + left;
}
