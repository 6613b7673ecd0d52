import type { ChunkIndex } from '@waypost/contracts';

type Totals = Readonly<ReturnType<ChunkIndex['totals']>>;

const known = new WeakMap<ChunkIndex, Totals>();

/** As ChunkIndex.totals, worked out once for each index: a build asks for them five times, and each time hashes the digests of all chunks. */
export function totalsOf(index: ChunkIndex): Totals {
  const found = known.get(index) ?? index.totals();
  known.set(index, found);
  return found;
}
