import type { CommandDatabase, DeviceState } from '@waypost/command-line';

/** A device that asks for nothing for so long is switched off, cut off, or broken. */
export const SILENT_AFTER_HOURS = 24;
/** Older data is not what anybody expects of a device that syncs every few minutes. */
export const STALE_AFTER_HOURS = 1;
/** One failure is a hiccup. */
export const FAILING_AFTER = 3;

/** Exactly one state per device; the first that holds, the most helpless first: what is silent cannot be asked. */
const STATE = `
  CASE WHEN last_request_at < now() - interval '${SILENT_AFTER_HOURS} hours' THEN 'silent'
       WHEN consecutive_failures >= ${FAILING_AFTER} THEN 'failing'
       WHEN verified_at IS NULL THEN 'never'
       WHEN verified_age > interval '${STALE_AFTER_HOURS} hours' THEN 'stale'
       ELSE 'fresh' END`;

const COLUMNS = `
  mac, ${STATE} AS state, first_seen_at, last_request_at, last_manifest_id, verified_manifest_id, verified_sequence::int8, verified_epoch, verified_at,
  (1000 * extract(epoch FROM verified_age))::float8 AS verified_age_ms,
  (1000 * extract(epoch FROM now() - last_request_at))::float8 AS request_age_ms,
  last_failure_at, last_error_code, last_error, consecutive_failures, filters`;

export const COUNT_STATES = `
  SELECT state, count(*)::int AS devices FROM (SELECT ${STATE} AS state FROM waypost.device_status) AS s GROUP BY state`;

/** Columns that `--sort` knows; the worst first in each. */
export const ORDERS = {
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

interface Wanted {
  states: readonly DeviceState[] | null;
  olderThanMs: number | null;
  order: Order;
  limit: number;
}

/** @returns the devices, and how many there are in all */
export async function findDevices(
  database: CommandDatabase,
  { states, olderThanMs, order, limit }: Wanted,
): Promise<{ devices: DeviceRow[]; total: number }> {
  const matching = `
    FROM (SELECT ${COLUMNS} FROM waypost.device_status) AS d
    WHERE ($1::text[] IS NULL OR state = ANY ($1)) AND ($2::float8 IS NULL OR verified_age_ms IS NULL OR verified_age_ms > $2)`;
  const devices = await database.query<DeviceRow>(`SELECT * ${matching} ORDER BY ${ORDERS[order]} LIMIT $3`, [states, olderThanMs, limit]);
  if (devices.length < limit) return { devices, total: devices.length };
  const [row] = await database.query<{ total: number }>(`SELECT count(*)::int AS total ${matching}`, [states, olderThanMs]);
  return { devices, total: row?.total ?? devices.length };
}

export async function countStates(database: CommandDatabase): Promise<Record<DeviceState, number>> {
  const rows = await database.query<{ state: DeviceState; devices: number }>(COUNT_STATES);
  const none = { failing: 0, silent: 0, stale: 0, never: 0, fresh: 0 };
  return { ...none, ...Object.fromEntries(rows.map(({ state, devices }) => [state, devices])) };
}
