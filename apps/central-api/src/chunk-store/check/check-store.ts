import { crc32 } from 'node:zlib';
import { sha256, WaypostError } from '@waypost/contracts';
import { type Query, decompress } from '@waypost/runtime';
import type { BlobStore } from '../blobs/blob-store.js';
import type { ChunkCatalog, PackedChunk } from '../chunk-catalog.js';
import * as sql from './check-store.sql.js';
import { READ_CHUNKS } from '../chunk-catalog.sql.js';
import { packName } from '../pack-writer.js';
import type { SnapshotId } from '../snapshot-store.js';

/** Something that is said to be stored, and is not, or not so. */
export interface Damage {
  packId: string;
  /** Undefined where the whole pack is lost. */
  digest?: Buffer;
  reason: string;
}

export interface StoreReport {
  packs: number;
  chunks: number;
  contents: number;
  /** Of all packs. */
  bytes: number;
  /** Of those chunks that a content needs; what is left is removed by later sweeps. */
  neededBytes: number;
  /** What the contents would take if nothing was shared. */
  contentBytes: number;
  /** Packs that the database does not know: the next sweep removes them. */
  unknownPacks: number;
  damaged: Damage[];
  incomplete: (SnapshotId & { missing: number })[];
}

interface Store {
  query: Query;
  blobs: BlobStore;
}

/**
 * Reads every chunk: compares its checksum, inflates it, and compares its SHA-256. Central may go on meanwhile. Memory holds one chunk and one
 * pack's list of them.
 */
export async function checkStore({ query, blobs }: Store): Promise<StoreReport> {
  const packs = await query<{ packId: string; bytes: number }>(sql.LIST_PACKS);
  const damaged: Damage[] = [];
  for (const { packId, bytes } of packs) {
    for await (const damage of checkPack({ query, blobs }, packId, bytes)) {
      if ((await query(sql.IS_CATALOGED, [packId, damage.digest ?? null])).length > 0) damaged.push(damage);
    }
  }
  const known = new Set(packs.map(({ packId }) => packName(packId)));
  const files = (await blobs.list()).filter(({ name }) => /^packs\/.*\.pack$/.test(name));
  const [counts] = (await query(sql.COUNT_STORED)) as [Pick<StoreReport, 'chunks' | 'contents' | 'neededBytes' | 'contentBytes'>];
  return {
    packs: packs.length,
    ...counts,
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    unknownPacks: files.filter(({ name }) => !known.has(name)).length,
    damaged,
    incomplete: await query<SnapshotId & { missing: number }>(sql.FIND_INCOMPLETE),
  };
}

/** Forgets what the report found: requests that need it build it again. */
export async function repairStore(catalog: ChunkCatalog, { damaged, incomplete }: StoreReport): Promise<void> {
  for (const { packId, digest } of damaged) await (digest ? catalog.forgetChunk(packId, digest) : catalog.forgetPack(packId));
  for (const id of incomplete) await catalog.forgetContent(id);
}

async function* checkPack({ query, blobs }: Store, packId: string, bytes: number): AsyncGenerator<Damage> {
  const size = await blobs.head(packName(packId));
  const reader = size === bytes ? await blobs.open(packName(packId)) : undefined;
  if (!reader) {
    yield { packId, reason: size === undefined ? 'it is gone' : `it has ${size} bytes, not ${bytes}` };
    return;
  }
  try {
    for (const chunk of await query<PackedChunk & { digest: Buffer }>(READ_CHUNKS, [packId])) {
      const reason = faultOf(chunk, await reader.read(chunk.start, chunk.frameBytes));
      if (reason) yield { packId, digest: chunk.digest, reason };
    }
  } finally {
    await reader.close();
  }
}

function faultOf({ digest, rawBytes, crc32: expected }: PackedChunk & { digest: Buffer }, frame: Buffer): string | undefined {
  if (crc32(frame) !== expected) return 'its frame has another checksum';
  try {
    return sha256(decompress(frame, rawBytes)).equals(digest) ? undefined : 'it holds other rows';
  } catch (error) {
    if (error instanceof WaypostError) return error.message;
    throw error;
  }
}
