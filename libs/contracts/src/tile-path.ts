import { isTreeSize, type TreeNode } from './merkle-tree.js';

/** The levels of the tree that one level of tiles spans. */
export const TILE_HEIGHT = 8;
/** Hashes, or entries, of a whole tile. */
export const TILE_WIDTH = 256;

const MAX_TILE_LEVEL = 63;
const PATH = /^tile\/(entries|\d{1,2})\/((?:x\d{3}\/){0,5}\d{3})(?:\.p\/(\d{1,3}))?$/;

/**
 * A tile (C2SP tlog-tiles): hashes that stand beside each other on one level of the tree, those of leaves on level 0, of nodes on level 8 of the tree on
 * level 1, and so on; or the entries that are hashed on level 0.
 */
export interface Tile {
  level: number | 'entries';
  /** Of the tile on its level, from 0. */
  index: number;
  /** Number of hashes or entries: 256, or less where the tile is partial. At least 1. */
  width: number;
}

/**
 * Where a ledger serves a tile, below its prefix: `tile/0/x001/x234/067`, and for a partial one `tile/0/x001/x234/067.p/8`.
 * @throws RangeError where no tile has such a level, index or width
 */
export function tilePath({ level, index, width }: Tile): string {
  if (level !== 'entries' && !isBetween(level, 0, MAX_TILE_LEVEL)) throw new RangeError(`${level} is not a level of tiles`);
  if (!isTreeSize(index)) throw new RangeError(`${index} is not the index of a tile`);
  if (!isBetween(width, 1, TILE_WIDTH)) throw new RangeError(`${width} is not the width of a tile`);
  const digits = String(index);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/\d{3}/g) as string[];
  const place = groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join('/');
  return `tile/${level}/${place}${width === TILE_WIDTH ? '' : `.p/${width}`}`;
}

/** The tile that a path names; undefined where tilePath writes no such path. */
export function readTilePath(path: string): Tile | undefined {
  const [, level = '', place = '', width = String(TILE_WIDTH)] = PATH.exec(path) ?? [];
  const tile: Tile = {
    level: level === 'entries' ? level : Number(level),
    index: Number(place.replaceAll(/[x/]/g, '')),
    width: Number(width),
  };
  try {
    // Only one path names a tile: without more zeros than it needs, and without the width of a whole one.
    return tilePath(tile) === path ? tile : undefined;
  } catch {
    return undefined;
  }
}

/**
 * How many hashes or entries a tile has in a tree: from 0, where it does not exist, to 256.
 * @param size of the tree
 */
export function tileWidth({ level, index }: Pick<Tile, 'level' | 'index'>, size: number): number {
  const complete = Math.floor(size / TILE_WIDTH ** (level === 'entries' ? 0 : level));
  return Math.min(Math.max(complete - index * TILE_WIDTH, 0), TILE_WIDTH);
}

/** The nodes whose hashes a tile holds, in order; of a tile of entries, their leaves. The tile must exist in a tree: see tileWidth. */
export function tileNodes({ level, index, width }: Tile): TreeNode[] {
  const height = level === 'entries' ? 0 : level * TILE_HEIGHT;
  return Array.from({ length: width }, (_, at) => ({ level: height, index: index * TILE_WIDTH + at }));
}

function isBetween(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most;
}
