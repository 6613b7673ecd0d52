import type { DeviceState } from '@waypost/command-line';
import type { Query } from '@waypost/runtime';
import { COUNT_DEVICES, COUNT_STATES, findDevicesBy, type Order } from './devices.sql.js';

export type { Order };

/** From which age on a device's state is stale, or the device silent: as central's numbers have it. */
export interface Thresholds {
  staleMs: number;
  silentMs: number;
}

export interface DeviceRow {
  mac: string;
  state: DeviceState;
  first_seen_at: Date;
  last_request_at: Date;
  last_manifest_id: string;
  verified_manifest_id: string | null;
  verified_sequence: string | null;
  verified_epoch: string | null;
  verified_at: Date | null;
  verified_age_ms: number | null;
  request_age_ms: number;
  last_failure_at: Date | null;
  last_error_code: string | null;
  last_error: string | null;
  consecutive_failures: number;
  filters: Record<string, string | null>;
}

interface DeviceFilter extends Thresholds {
  states: readonly DeviceState[] | null;
  olderThanMs: number | null;
  order: Order;
  limit: number;
}

/** @returns the devices, and how many there are in all */
export async function findDevices(
  query: Query,
  { states, olderThanMs, order, limit, staleMs, silentMs }: DeviceFilter,
): Promise<{ devices: DeviceRow[]; total: number }> {
  const values = [staleMs / 1000, silentMs / 1000, states, olderThanMs];
  const devices = await query<DeviceRow>(findDevicesBy(order), [...values, limit]);
  if (devices.length < limit) return { devices, total: devices.length };
  const [row] = await query<{ total: number }>(COUNT_DEVICES, values);
  return { devices, total: row?.total ?? devices.length };
}

/** @returns how many devices are in each state, and how many failed several times in a row */
export async function countStates(
  query: Query,
  { staleMs, silentMs }: Thresholds,
): Promise<{ states: Record<DeviceState, number>; repeated: number }> {
  const rows = await query<{ state: DeviceState; devices: number; repeated: number }>(COUNT_STATES, [staleMs / 1000, silentMs / 1000]);
  const none = { failing: 0, silent: 0, stale: 0, never: 0, fresh: 0 };
  return {
    states: { ...none, ...Object.fromEntries(rows.map(({ state, devices }) => [state, devices])) },
    repeated: rows.reduce((sum, { repeated }) => sum + repeated, 0),
  };
}

/** The JSON form of a device. */
export function deviceData(row: DeviceRow): object {
  return {
    mac: row.mac,
    state: row.state,
    verifiedAt: row.verified_at?.toISOString() ?? null,
    verifiedAgeMs: row.verified_age_ms === null ? null : Math.round(row.verified_age_ms),
    verifiedManifestId: row.verified_manifest_id,
    verifiedSequence: row.verified_sequence === null ? null : Number(row.verified_sequence),
    verifiedEpoch: row.verified_epoch,
    firstSeenAt: row.first_seen_at.toISOString(),
    lastRequestAt: row.last_request_at.toISOString(),
    lastManifestId: row.last_manifest_id,
    consecutiveFailures: row.consecutive_failures,
    lastFailureAt: row.last_failure_at?.toISOString() ?? null,
    lastErrorCode: row.last_error_code,
    lastError: row.last_error,
    filters: row.filters,
  };
}
