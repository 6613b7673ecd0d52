import { randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { AdvisoryLock, ADVISORY_NAMESPACE, queryOn, sqlStateOf, SqlState, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { ENTER_BUILD, FIND_BUILDS, LOCK_BUILD, TRY_LOCK_STORE } from './builds.sql.js';

/** Each build holds a lock of its own here, by a random number: a session that builds again holds another one. */
const BUILD_NAMESPACE = ADVISORY_NAMESPACE + 1;
const MAX_BUILD = 2 ** 31 - 1;
/** How long one wait for a lock goes on before the signal is looked at. */
const STEP_MS = 1000;
const FIRST_PAUSE_MS = 10;

interface WaitOptions {
  maxWaitMs: number;
  signal: AbortSignal;
}

/**
 * Makes this session a build, until it lets go of its locks: what it finds in the store, and what it puts there, stays until it has ended. It waits for
 * no sweep, but for the moment in which one moves chunks.
 */
export async function enterBuild(client: pg.ClientBase): Promise<void> {
  const build = randomInt(MAX_BUILD);
  await client.query(ENTER_BUILD, [BUILD_NAMESPACE, build, ADVISORY_NAMESPACE, AdvisoryLock.snapshotStore]);
}

/**
 * Returns when all builds that are in progress now have ended; those that begin meanwhile are neither waited for nor kept waiting. They see what was
 * committed before the call. Call it outside of a transaction.
 * @returns false when `maxWaitMs` were not enough, or the signal has fired
 */
export async function awaitBuilds(client: pg.ClientBase, { maxWaitMs, signal }: WaitOptions): Promise<boolean> {
  const deadline = performance.now() + maxWaitMs;
  const { builds, isForeign } = await findBuilds(client);
  for (const build of builds) {
    while (!(await hasEnded(client, build, deadline))) if (signal.aborted || performance.now() >= deadline) return false;
  }
  // Releases before this one hold the shared lock alone: their builds cannot be told apart, only be waited out.
  for (let isWaiting = isForeign, pauseMs = FIRST_PAUSE_MS; isWaiting; pauseMs = Math.min(2 * pauseMs, STEP_MS)) {
    if (signal.aborted || performance.now() >= deadline) return false;
    await delay(pauseMs, undefined, { signal }).catch(() => undefined);
    ({ isForeign: isWaiting } = await findBuilds(client));
  }
  return true;
}

/**
 * Runs work in a transaction while nothing builds. It never queues for that, so that no build queues behind it: it tries, again and again.
 * @returns undefined when there was no such moment within `maxWaitMs`
 */
export async function betweenBuilds<T>(
  client: pg.ClientBase,
  options: WaitOptions,
  work: () => Promise<T>,
): Promise<{ result: T } | undefined> {
  const deadline = performance.now() + options.maxWaitMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, STEP_MS)) {
    const done = await withTransaction(client, 'READ WRITE', async () => {
      const [lock] = await queryOn(client)<{ taken: boolean }>(TRY_LOCK_STORE, [ADVISORY_NAMESPACE, AdvisoryLock.snapshotStore]);
      return lock?.taken ? { result: await work() } : undefined;
    });
    if (done || options.signal.aborted || performance.now() >= deadline) return done;
    await delay(pauseMs * (1 + Math.random()), undefined, { signal: options.signal }).catch(() => undefined);
  }
}

async function findBuilds(client: pg.ClientBase): Promise<{ builds: string[]; isForeign: boolean }> {
  const rows = await queryOn(client)<{ build: string | null }>(FIND_BUILDS, [
    BUILD_NAMESPACE,
    ADVISORY_NAMESPACE,
    AdvisoryLock.snapshotStore,
  ]);
  return { builds: rows.flatMap(({ build }) => build ?? []), isForeign: rows.some(({ build }) => build === null) };
}

/** Nothing but the build holds this lock, and nothing queues behind this. */
async function hasEnded(client: pg.ClientBase, build: string, deadline: number): Promise<boolean> {
  const waitMs = Math.ceil(Math.max(1, Math.min(STEP_MS, deadline - performance.now())));
  try {
    await withTransaction(client, 'READ WRITE', async () => {
      await client.query(`SET LOCAL lock_timeout = ${waitMs}`);
      await client.query(LOCK_BUILD, [BUILD_NAMESPACE, build]);
    });
    return true;
  } catch (error) {
    if (sqlStateOf(error) === SqlState.lockNotAvailable) return false;
    throw error;
  }
}
