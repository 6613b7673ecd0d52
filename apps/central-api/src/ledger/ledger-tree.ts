import {
  consistencyProof,
  foldPerfect,
  HASH_BYTES,
  inclusionNodes,
  inclusionProof,
  type ReadHashes,
  TILE_HEIGHT,
  TILE_WIDTH,
  type Tile,
  type TreeNode,
  WaypostError,
} from '@waypost/contracts';
import type { Query } from '@waypost/runtime';
import { NEWEST_CHECKPOINT, READ_HASHES } from './ledger.sql.js';

/** A checkpoint as it is stored. */
export interface StoredCheckpoint {
  size: number;
  root: Buffer;
  /** Signed. */
  note: string;
}

/** The ledger's tree, as the database has it: proofs cost a few parts of tiles, however large it is. */
export class LedgerTree {
  constructor(private readonly query: Query) {}

  async newestCheckpoint(): Promise<StoredCheckpoint | undefined> {
    const [row] = await this.query<StoredCheckpoint>(NEWEST_CHECKPOINT);
    return row;
  }

  /** @throws WaypostError REQUEST_INVALID where the ledger has not grown so */
  async consistencyProof(from: number, to: number): Promise<Buffer[]> {
    await this.mustHave(to, from);
    return consistencyProof(from, to, this.readHashes);
  }

  /** @throws WaypostError REQUEST_INVALID where the ledger has no such leaf */
  async inclusionProof(index: number, size: number): Promise<Buffer[]> {
    await this.mustHave(size, index + 1);
    return inclusionProof(index, size, this.readHashes);
  }

  /** Of many leaves of one tree: hashes that their proofs share are read once. The tree must have them. */
  async inclusionProofs(indexes: readonly number[], size: number): Promise<Buffer[][]> {
    const nameOf = ({ level, index }: TreeNode): string => `${level} ${index}`;
    const nodes = new Map(indexes.flatMap((index) => inclusionNodes(index, size).flat()).map((node) => [nameOf(node), node]));
    const hashes = await this.readHashes([...nodes.values()]);
    const known = new Map([...nodes.keys()].map((name, at) => [name, hashes[at] as Buffer]));
    const read: ReadHashes = (wanted) => Promise.resolve(wanted.map((node) => known.get(nameOf(node)) as Buffer));
    return Promise.all(indexes.map((index) => inclusionProof(index, size, read)));
  }

  /** Undefined where the tree has no such tile, or not as many hashes in it. */
  async tile({ level, index, width }: Tile & { level: number }): Promise<Buffer | undefined> {
    const [hashes] = await this.readParts([{ level, tile: index, first: 0, width }]);
    return hashes?.length === width * HASH_BYTES ? hashes : undefined;
  }

  /** One statement. */
  readonly readHashes: ReadHashes = async (nodes) => {
    const parts = await this.readParts(nodes.map(partOf));
    return parts.map((hashes, at) => {
      const { width } = partOf(nodes[at] as TreeNode);
      // makeProof names the node that is missing.
      return hashes?.length === width * HASH_BYTES ? foldPerfect(hashes) : Buffer.alloc(0);
    });
  };

  private async readParts(parts: readonly TilePart[]): Promise<(Buffer | null)[]> {
    const rows = await this.query<{ hashes: Buffer | null }>(READ_HASHES, [
      parts.map(({ level }) => level),
      parts.map(({ tile }) => tile),
      parts.map(({ first }) => first),
      parts.map(({ width }) => width),
    ]);
    return rows.map(({ hashes }) => hashes);
  }

  private async mustHave(size: number, least: number): Promise<void> {
    const newest = (await this.newestCheckpoint())?.size ?? 0;
    if (least <= size && size <= newest) return;
    throw new WaypostError('REQUEST_INVALID', { detail: `The ledger has ${newest} leaves; asked was for ${least} of ${size}.` });
  }
}

interface TilePart {
  level: number;
  tile: number;
  first: number;
  width: number;
}

/** Where the hashes stand that a node is made of. */
function partOf({ level, index }: TreeNode): TilePart {
  const height = level % TILE_HEIGHT;
  const width = 2 ** height;
  const first = index * width;
  return { level: (level - height) / TILE_HEIGHT, tile: Math.floor(first / TILE_WIDTH), first: first % TILE_WIDTH, width };
}
