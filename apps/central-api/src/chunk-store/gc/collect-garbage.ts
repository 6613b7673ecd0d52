import { AdvisoryLock, ADVISORY_NAMESPACE, queryOn, sqlStateOf, SqlState, withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import type { BlobStore } from '../blobs/blob-store.js';
import { awaitBuilds } from '../builds.js';
import type { ChunkCatalog } from '../chunk-catalog.js';
import { compactPacks } from './compact-packs.js';
import * as sql from './garbage.sql.js';
import { packName } from '../pack-writer.js';

/** Readers look their chunks up again where a pack is gone; they seldom have to. A store that changes all the time holds as much more. */
const RETIRED_MS = 10_000;
/** Packs, and the files that earlier releases wrote, which are of no use any more. Nothing else in the folder is touched. */
const OURS = /^(packs\/[0-9A-Z]{26}\.pack|[0-9a-f]{2}\/[0-9a-f]{64}\.(binary|text)\.(index|frames))$/;

export interface Retention {
  /** How long a content stays that nothing needs any more, and how many do at most. */
  idleMs: number;
  idleCount: number;
  /** How long that is needed which a device has proved to hold: it is the base of its next delta. */
  baseMs: number;
  /** Whether those stay besides that other devices may be given. */
  keepsShared: boolean;
}

export interface Garbage {
  contents: number;
  chunks: number;
  packs: number;
  /** Unknown to the catalog. */
  files: number;
  compacted: number;
}

interface Collection {
  pool: pg.Pool;
  blobs: BlobStore;
  catalog: ChunkCatalog;
  retention: Retention;
  /** Builds in progress, which have stored chunks and not yet their manifest, are waited for, at most so long each time. */
  maxWaitMs: number;
  signal: AbortSignal;
}

/** Another process may sweep meanwhile. */
const TURN_MS = 16_000;
/** How long a moment without builds is looked for, to move chunks in: what is not compacted now is so later. */
const COMPACTION_MAX_WAIT_MS = 2000;

/**
 * Removes what no live manifest needs: contents, then chunks, then packs; files that the database does not know; and compacts what is left. Builds go on
 * meanwhile: what is to be removed is marked first, after which no build counts on it, and removed once all that were building then
 * have ended (docs/adr/0029). Of several processes one is at it. Killed at any time, it leaves nothing that the next one does not remove.
 * @returns undefined when the builds did not end in time; what was done by then stays done
 */
export async function collectGarbage(options: Collection): Promise<Garbage | undefined> {
  try {
    return await withClient(options.pool, async (client) => {
      await withTransaction(client, 'READ WRITE', () => lock(client, AdvisoryLock.storeSweep));
      const garbage = await collect(client, options);
      await client.query('SELECT pg_advisory_unlock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.storeSweep]);
      return garbage;
    });
  } catch (error) {
    if (sqlStateOf(error) === SqlState.lockNotAvailable) return undefined;
    throw error;
  }
}

async function collect(client: pg.ClientBase, options: Collection): Promise<Garbage | undefined> {
  const { blobs, catalog, retention, signal } = options;
  const query = queryOn(client);
  // Before builds are waited for: what was writing one of these has told the database of it by then, or is gone.
  const files = (await blobs.list()).map(({ name }) => name).filter((name) => OURS.test(name));
  const unfinished = await blobs.listUnfinished();
  const [{ now: since }] = (await query<{ now: string }>(sql.READ_CLOCK)) as [{ now: string }];
  await client.query(sql.NOTE_NEEDED, [retention.baseMs]);
  await client.query(sql.MARK_CONTENTS, [retention.idleMs, retention.idleCount, retention.keepsShared, retention.baseMs]);
  if (!(await awaitBuilds(client, options))) return undefined;

  const contents = await forgetMarked(client, retention);
  const packsNow = await query<{ packId: string }>(sql.READ_PACKS);
  const known = new Set(packsNow.map(({ packId }) => packName(packId)));
  for (const id of unfinished) await blobs.removeUnfinished(id);
  const orphans = files.filter((name) => !known.has(name));
  for (const name of orphans) await blobs.remove(name);

  await client.query(sql.MARK_UNNEEDED, [since]);
  const chunks = await removeMarked(client, options);
  if (chunks === undefined) return undefined;
  const packs = await query<{ packId: string }>(sql.REMOVE_PACKS, [since, RETIRED_MS]);
  for (const { packId } of packs) await blobs.remove(packName(packId));
  const compacted = await compactPacks({ client, blobs, catalog, maxWaitMs: COMPACTION_MAX_WAIT_MS, signal });
  return { contents, chunks, packs: packs.length, files: orphans.length, compacted };
}

/** Also what an earlier collection had marked. */
async function forgetMarked(client: pg.ClientBase, { keepsShared, baseMs }: Retention): Promise<number> {
  const [found] = await queryOn(client)<{ marked: boolean }>(sql.ARE_CONTENTS_MARKED);
  if (!found?.marked) return 0;
  await client.query(sql.UNMARK_NAMED, [baseMs]);
  await client.query(sql.UNMARK_SHARED, [keepsShared]);
  return (await client.query(sql.FORGET_CONTENTS)).rowCount ?? 0;
}

/** Also what an earlier collection had marked. @returns undefined when the builds did not end in time */
async function removeMarked(client: pg.ClientBase, options: Collection): Promise<number | undefined> {
  const [found] = await queryOn(client)<{ marked: boolean }>(sql.ARE_MARKED);
  if (!found?.marked) return 0;
  if (!(await awaitBuilds(client, options))) return undefined;
  const [unmark, remove] = sql.REMOVE_UNNEEDED;
  await client.query(unmark);
  return (await client.query(remove)).rowCount ?? 0;
}

async function lock(client: pg.ClientBase, which: number): Promise<void> {
  await client.query(`SET LOCAL lock_timeout = ${TURN_MS}`);
  await client.query('SELECT pg_advisory_lock($1, $2)', [ADVISORY_NAMESPACE, which]);
}
