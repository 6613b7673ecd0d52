import { AdvisoryLock, ADVISORY_NAMESPACE, type Ask, askerOf, sqlStateOf, SqlState, withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import type { BlobStore } from './blob-store.js';
import type { ChunkCatalog } from './chunk-catalog.js';
import { compactPacks } from './compact-packs.js';
import * as sql from './garbage.sql.js';
import { packName } from './pack-writer.js';

/** Readers look their chunks up again where a pack is gone; they seldom have to. */
const RETIRED_MS = 10 * 60_000;
/** Packs, and the files that releases before 0.2 wrote, which are of no use any more. Nothing else in the folder is touched. */
const OURS = /^(packs\/[0-9A-Z]{26}\.pack|[0-9a-f]{2}\/[0-9a-f]{64}\.(binary|text)\.(index|frames))$/;

export interface Retention {
  /** How long a content stays that no live manifest names any more, and how many do at most. */
  idleMs: number;
  idleCount: number;
  /** Whether those stay besides that other devices may be given. */
  keepsShared: boolean;
}

export interface Garbage {
  contents: number;
  chunks: number;
  packs: number;
  /** That nobody knew. */
  files: number;
  compacted: number;
}

interface Collection {
  pool: pg.Pool;
  blobs: BlobStore;
  catalog: ChunkCatalog;
  retention: Retention;
  /** Requests that have stored chunks and not yet their manifest hold the store's lock shared: they are waited for, at most so long. */
  patienceMs: number;
  /** Runs while nobody builds; must be quick. */
  whileNobodyBuilds?: (ask: Ask) => Promise<void>;
  signal: AbortSignal;
}

/**
 * Removes what no live manifest needs: contents, then chunks, then packs; files that nobody knows; and compacts what is left. Everybody is kept waiting
 * for moments only: chunks to be removed are marked first, after which no builder counts on them, and removed once all who were building then
 * are done. Of several processes one is at it. Killed at any time, it leaves nothing that the next one does not remove.
 * @returns undefined when the wait was in vain; what was done by then stays done
 */
export async function collectGarbage(options: Collection): Promise<Garbage | undefined> {
  try {
    return await withClient(options.pool, async (client) => {
      await withTransaction(client, 'READ WRITE', () => lock(client, 'pg_advisory_lock', AdvisoryLock.storeSweep, options.patienceMs));
      const garbage = await collect(client, options);
      await client.query('SELECT pg_advisory_unlock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.storeSweep]);
      return garbage;
    });
  } catch (error) {
    if (sqlStateOf(error) === SqlState.lockNotAvailable) return undefined;
    throw error;
  }
}

async function collect(
  client: pg.ClientBase,
  { blobs, catalog, retention, patienceMs, whileNobodyBuilds, signal }: Collection,
): Promise<Garbage> {
  const ask = askerOf(client);
  const exclusively = <T>(work: () => Promise<T>): Promise<T> =>
    withTransaction(client, 'READ WRITE', async () => {
      await lock(client, 'pg_advisory_xact_lock', AdvisoryLock.snapshotStore, patienceMs);
      return work();
    });

  // Before the lock: whoever was writing one of these has told the database of it by then, or is gone.
  const files = (await blobs.list()).map(({ name }) => name).filter((name) => OURS.test(name));
  const unfinished = await blobs.listUnfinished();
  const { contents, since, known } = await exclusively(async () => {
    await whileNobodyBuilds?.(ask);
    await client.query(sql.NOTE_NEEDED);
    const forgotten = await client.query(sql.FORGET_CONTENTS, [retention.idleMs, retention.idleCount, retention.keepsShared]);
    const [{ now }] = (await ask<{ now: string }>(sql.READ_CLOCK)) as [{ now: string }];
    const packs = await ask<{ packId: string }>(sql.READ_PACKS);
    return { contents: forgotten.rowCount ?? 0, since: now, known: new Set(packs.map(({ packId }) => packName(packId))) };
  });
  for (const id of unfinished) await blobs.removeUnfinished(id);
  const orphans = files.filter((name) => !known.has(name));
  for (const name of orphans) await blobs.remove(name);

  await client.query(sql.MARK_UNNEEDED, [since]);
  const chunks = await removeMarked(client, exclusively);
  const packs = await ask<{ packId: string }>(sql.REMOVE_PACKS, [since, RETIRED_MS]);
  for (const { packId } of packs) await blobs.remove(packName(packId));
  const compacted = signal.aborted ? 0 : await compactPacks({ client, blobs, catalog, exclusively, signal });
  return { contents, chunks, packs: packs.length, files: orphans.length, compacted };
}

/** Also what an earlier collection had marked. */
async function removeMarked(client: pg.ClientBase, exclusively: (work: () => Promise<void>) => Promise<void>): Promise<number> {
  const [found] = await askerOf(client)<{ marked: boolean }>(sql.ARE_MARKED);
  if (!found?.marked) return 0;
  await exclusively(() => Promise.resolve()); // all who were building when they were marked are done
  const [unmark, remove] = sql.REMOVE_UNNEEDED;
  await client.query(unmark);
  return (await client.query(remove)).rowCount ?? 0;
}

async function lock(client: pg.ClientBase, how: string, which: number, patienceMs: number): Promise<void> {
  await client.query(`SET LOCAL lock_timeout = ${patienceMs}`);
  await client.query(`SELECT ${how}($1, $2)`, [ADVISORY_NAMESPACE, which]);
}
