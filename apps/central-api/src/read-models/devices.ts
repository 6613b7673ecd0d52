import type { DeviceState } from '@waypost/command-line';
import type { Query } from '@waypost/runtime';
import { REPEATED_FAILURES, stateOf } from '../metrics/fleet.sql.js';

/** From which age on a device's state is stale, or the device silent: as central's numbers have it. */
export interface Thresholds {
  staleMs: number;
  silentMs: number;
}

/** $1: stale after, $2: silent after, both in seconds. */
const STATE = stateOf('$1::float8', '$2::float8');

const COLUMNS = `
  mac, ${STATE} AS state, first_seen_at, last_request_at, last_manifest_id, verified_manifest_id, verified_sequence::int8, verified_epoch, verified_at,
  (1000 * extract(epoch FROM verified_age))::float8 AS verified_age_ms,
  greatest(0, 1000 * extract(epoch FROM now() - last_request_at))::float8 AS request_age_ms,
  last_failure_at, last_error_code, last_error, consecutive_failures, filters`;

const COUNT_STATES = `
  SELECT state, count(*)::int AS devices, count(*) FILTER (WHERE consecutive_failures >= ${REPEATED_FAILURES})::int AS repeated
  FROM (SELECT ${STATE} AS state, consecutive_failures FROM waypost.device_status) AS s GROUP BY state`;

/** The worst first in each. */
const ORDERS = {
  worst: `array_position(ARRAY['failing', 'silent', 'never', 'stale', 'fresh'], state), verified_age_ms DESC NULLS FIRST, mac`,
  age: 'verified_age_ms DESC NULLS FIRST, mac',
  mac: 'mac',
  failures: 'consecutive_failures DESC, mac',
  request: 'last_request_at, mac',
  error: 'last_error_code NULLS LAST, last_failure_at DESC, mac',
} as const;
export type Order = keyof typeof ORDERS;

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
  const matching = `
    FROM (SELECT ${COLUMNS} FROM waypost.device_status) AS d
    WHERE ($3::text[] IS NULL OR state = ANY ($3)) AND ($4::float8 IS NULL OR verified_age_ms IS NULL OR verified_age_ms > $4)`;
  const values = [staleMs / 1000, silentMs / 1000, states, olderThanMs];
  const devices = await query<DeviceRow>(`SELECT * ${matching} ORDER BY ${ORDERS[order]} LIMIT $5`, [...values, limit]);
  if (devices.length < limit) return { devices, total: devices.length };
  const [row] = await query<{ total: number }>(`SELECT count(*)::int AS total ${matching}`, values);
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
