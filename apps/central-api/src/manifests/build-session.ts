import { PIN_SESSION, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { enterBuild } from '../chunk-store/builds.js';
import { limitSession } from '../database/limit-session.js';
import type { CheckedPlan } from '../plan/check-plan.js';
import { lockMaterializedViews, lockTables } from '../plan/lock-tables.js';
import { lockDevice, tryLockDevices } from './device-locks.js';
import type { ManifestOptions } from './manifest-options.js';
import type { PendingRequest } from './pending-request.js';

interface SessionOptions {
  limits: ManifestOptions;
  /** The only request waits for its device's lock; otherwise requests whose device is locked are left out. */
  waitsForLock: boolean;
}

/**
 * Runs work on a session that holds the locks of a build: those of the requests' devices, and its own, which keeps the sweeper from removing what it stores
 * before a manifest names it. All are released at the end.
 * @returns undefined where each of the devices is locked by another process
 */
export async function withBuildSession<T>(
  client: pg.ClientBase,
  requests: readonly PendingRequest[],
  { limits, waitsForLock }: SessionOptions,
  work: (locked: readonly PendingRequest[]) => Promise<T>,
): Promise<T | undefined> {
  await limitSession(client, limits);
  const [first] = requests;
  if (first && waitsForLock) await lockDevice(client, first.mac, limits);
  const locked = waitsForLock ? requests : await tryLockDevices(client, requests);
  if (locked.length === 0) return undefined;
  await enterBuild(client);
  try {
    return await work(locked);
  } finally {
    await releaseLocks(client).catch(() => undefined); // a broken connection has released them
  }
}

/** Ends what withBuildSession holds, before its work has ended. */
export async function releaseLocks(client: pg.ClientBase): Promise<void> {
  await client.query('SELECT pg_advisory_unlock_all()');
}

/**
 * Runs work in a transaction whose snapshot is of one moment, with all tables that the plan reads locked before.
 * @returns undefined where a materialized view was refreshed between its lock and the snapshot: start over
 */
export async function withSnapshot<T>(client: pg.ClientBase, plan: CheckedPlan, work: () => Promise<T>): Promise<T | undefined> {
  return withTransaction(client, { mode: 'ISOLATION LEVEL REPEATABLE READ READ ONLY', settings: PIN_SESSION }, async () => {
    await lockTables(client, plan);
    return (await lockMaterializedViews(client, plan)) ? work() : undefined;
  });
}
