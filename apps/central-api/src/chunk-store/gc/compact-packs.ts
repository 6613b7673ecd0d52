import { crc32 } from 'node:zlib';
import { type Query, queryOn } from '@waypost/runtime';
import type pg from 'pg';
import type { BlobStore } from '../blobs/blob-store.js';
import { betweenBuilds } from '../builds.js';
import type { ChunkCatalog, Pack, PackedChunk } from '../chunk-catalog.js';
import { ADD_PACK, READ_CHUNKS } from '../chunk-catalog.sql.js';
import * as sql from './garbage.sql.js';
import { packName, PackWriter } from '../pack-writer.js';

/** Small packs, such as a few changed rows make, are put together where there are more than so many. */
const SMALL = { bytes: 8 << 20, count: 32 };

interface Compaction {
  client: pg.ClientBase;
  blobs: BlobStore;
  catalog: ChunkCatalog;
  /** How long a moment without builds is looked for, each time that a pack is to be taken over. */
  maxWaitMs: number;
  signal: AbortSignal;
}

interface StoredChunk extends PackedChunk {
  digest: Buffer;
}

/**
 * Writes packs of which less than two thirds are needed, and small ones where there are many, into new ones. The old ones are retired: readers that know of
 * them go on. Chunks that prove to be lost or damaged are forgotten. Killed at any time, it leaves a file that the catalog does not know, no more.
 * Where builds always overlap it does nothing: rows are moved only while nothing builds.
 * @returns how many packs were retired
 */
export async function compactPacks(options: Compaction): Promise<number> {
  const { client, blobs, catalog, signal } = options;
  const query = queryOn(client);
  const sparse = await query<{ packId: string }>(sql.FIND_SPARSE, [SMALL.bytes, SMALL.count]);
  const from = sparse.map(({ packId }) => packId);
  // Nothing is copied for nothing.
  if (from.length === 0 || signal.aborted || !(await betweenBuilds(client, options, () => Promise.resolve()))) return 0;
  let retired = 0;
  const writer = new PackWriter(blobs, async (pack) => {
    const moved = await betweenBuilds(client, options, () => move(client, pack, from));
    if (moved) retired += moved.result;
    else await blobs.remove(packName(pack.packId));
  });
  try {
    for (const packId of from) {
      if (signal.aborted) break;
      for await (const { digest, rawBytes, frame } of readPack({ query, blobs, catalog }, packId)) {
        await writer.add(digest.toString('latin1'), rawBytes, frame);
      }
    }
    await writer.finish();
  } finally {
    await writer.abort();
  }
  return retired;
}

type Reading = Pick<Compaction, 'blobs' | 'catalog'> & { query: Query };

/** The chunks that are needed of a pack; what is lost or damaged is forgotten. */
async function* readPack({ query, blobs, catalog }: Reading, packId: string): AsyncGenerator<StoredChunk & { frame: Buffer }> {
  const chunks = await query<StoredChunk>(READ_CHUNKS, [packId]);
  const reader = await blobs.open(packName(packId));
  if (!reader) return catalog.forgetPack(packId);
  try {
    for (const chunk of chunks) {
      const frame = await reader.read(chunk.start, chunk.frameBytes);
      if (frame.length === chunk.frameBytes && crc32(frame) === chunk.crc32) yield { ...chunk, frame };
      else await catalog.forgetChunk(packId, chunk.digest);
    }
  } finally {
    await reader.close();
  }
}

/** @returns how many old packs have nothing left */
async function move(client: pg.ClientBase, { packId, bytes, chunks }: Pack, from: readonly string[]): Promise<number> {
  const digests = Buffer.from([...chunks.keys()].join(''), 'latin1');
  const starts = [...chunks.values()].map(({ start }) => start);
  const query = queryOn(client);
  await client.query(ADD_PACK, [packId, bytes]);
  await client.query(sql.MOVE_CHUNKS, [digests, chunks.size, packId, starts, from]);
  const retired = (await query<{ packId: string }>(sql.RETIRE_PACKS, [from])).map((pack) => pack.packId);
  await client.query(sql.MOVE_CONTENTS, [packId, from, retired]);
  return retired.length;
}
