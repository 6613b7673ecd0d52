import { WaypostError } from '@waypost/contracts';
import { sqlStateOf, SqlState } from '@waypost/runtime';
import type pg from 'pg';
import type { ManifestOptions } from './manifest-options.js';
import type { PendingRequest } from './pending-request.js';

const deviceLock = (mac: string): string => `hashtextextended('waypost device ' || ${mac}, 0)`;
const LOCK_DEVICE = `SELECT pg_advisory_lock(${deviceLock('$1')})`;
const TRY_LOCK_DEVICES = `
  SELECT mac FROM (SELECT mac, pg_try_advisory_lock(${deviceLock('mac')}) AS locked FROM unnest($1::text[]) AS mac) AS tried WHERE locked`;

/**
 * One request per device at a time, across processes: the order of its manifests is the order of their snapshots.
 * @returns those whose lock is ours; of the others `isAlone` says that they have to wait for theirs
 */
export async function tryLockDevices(client: pg.ClientBase, requests: readonly PendingRequest[]): Promise<PendingRequest[]> {
  const { rows } = await client.query<{ mac: string }>(TRY_LOCK_DEVICES, [requests.map(({ mac }) => mac)]);
  const locked = new Set(rows.map(({ mac }) => mac));
  for (const request of requests) request.isAlone = !locked.has(request.mac);
  return requests.filter(({ isAlone }) => !isAlone);
}

/**
 * As tryLockDevices, for one that waits. Other locks have `lockTimeoutMs` then.
 * @throws WaypostError CENTRAL_BUSY after `deviceLockTimeoutMs`
 */
export async function lockDevice(
  client: pg.ClientBase,
  mac: string,
  { deviceLockTimeoutMs, lockTimeoutMs }: ManifestOptions,
): Promise<void> {
  await client.query(`SET lock_timeout = ${deviceLockTimeoutMs}`);
  try {
    await client.query(LOCK_DEVICE, [mac]);
  } catch (error) {
    if (sqlStateOf(error) !== SqlState.lockNotAvailable) throw error;
    throw deviceBusy(mac, error);
  }
  await client.query(`SET lock_timeout = ${lockTimeoutMs}`);
}

export function deviceBusy(mac: string, cause?: unknown): WaypostError {
  return new WaypostError('CENTRAL_BUSY', {
    detail: `Another request of ${mac} is being answered.`,
    hint: 'The device asks again by itself. If this lasts, look for two devices with one MAC address.',
    cause,
  });
}
