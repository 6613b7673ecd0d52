import { REPEATED_FAILURES } from '../metrics/repeated-failures.js';
import { stateOf } from '../metrics/fleet.sql.js';

/** $1: stale after, $2: silent after, both in seconds. */
const STATE = stateOf('$1::float8', '$2::float8');

const COLUMNS = `
  mac, ${STATE} AS state, first_seen_at, last_request_at, last_manifest_id, verified_manifest_id, verified_sequence::int8, verified_epoch, verified_at,
  (1000 * extract(epoch FROM verified_age))::float8 AS verified_age_ms,
  greatest(0, 1000 * extract(epoch FROM now() - last_request_at))::float8 AS request_age_ms,
  last_failure_at, last_error_code, last_error, consecutive_failures, filters`;

/** $1, $2: as of STATE. */
export const COUNT_STATES = `
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

const MATCHING = `
  FROM (SELECT ${COLUMNS} FROM waypost.device_status) AS d
  WHERE ($3::text[] IS NULL OR state = ANY ($3)) AND ($4::float8 IS NULL OR verified_age_ms IS NULL OR verified_age_ms > $4)`;

/** $1, $2: as of STATE, $3: states or null, $4: age in ms or null. */
export const COUNT_DEVICES = `SELECT count(*)::int AS total ${MATCHING}`;

/** $1…$4: as of COUNT_DEVICES, $5: how many at most. */
export const findDevicesBy = (order: Order): string => `SELECT * ${MATCHING} ORDER BY ${ORDERS[order]} LIMIT $5`;
