import { hasProven } from '../database/device-states.sql.js';

/**
 * Audit rows and the states of devices, one statement each: a state never says otherwise than the audit, and costs no round trip of its own.
 * States carry the database's clock: one for all replicas. `now() - duration` is when a request came. By itself, what says nothing of a device's state:
 * a refusal of what anyone can send. $1…$9: the audit's row.
 */
export const AUDIT_REQUEST = `
  INSERT INTO waypost.sync_requests (mac, manifest_id, requested_at, operation, status, reason, duration_ms, request_id, cycle_id)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`;

const HOLDS_ISSUED = `(${hasProven('excluded.last_manifest_id')}
      AND excluded.last_manifest_id = (SELECT held_id FROM issued WHERE issued.mac = excluded.mac))`;

const CAME_AT = "now() - $7::integer * interval '1 ms'";

/**
 * Manifests that were issued, for devices that differ. That which a device holds is verified if it is what it was last given and has acknowledged, with no
 * failure since. $1…$9, one element for each: the audit's row, $10: the manifests that the devices say to hold, or null, $11: filters as JSON. In the
 * order of MACs, so that no two wait for each other.
 */
export const AUDIT_ISSUED = `
  WITH issued AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::text[], $9::text[],
                         $10::text[], $11::jsonb[])
      AS i(mac, manifest_id, requested_at, operation, status, reason, duration_ms, request_id, cycle_id, held_id, filters)
  ), audited AS (
    INSERT INTO waypost.sync_requests (mac, manifest_id, requested_at, operation, status, reason, duration_ms, request_id, cycle_id)
    SELECT mac, manifest_id, requested_at, operation, status, reason, duration_ms, request_id, cycle_id FROM issued
  )
  INSERT INTO waypost.device_states AS device (mac, first_seen_at, last_request_at, last_manifest_id, filters)
  SELECT mac, came_at, came_at, manifest_id, filters FROM issued, LATERAL (SELECT now() - duration_ms * interval '1 ms') AS t(came_at) ORDER BY mac
  ON CONFLICT (mac) DO UPDATE SET
    last_request_at = greatest(device.last_request_at, excluded.last_request_at),
    last_manifest_id = excluded.last_manifest_id,
    filters = excluded.filters,
    verified_at = CASE WHEN ${HOLDS_ISSUED} THEN greatest(device.verified_at, excluded.last_request_at) ELSE device.verified_at END,
    consecutive_failures = CASE WHEN ${HOLDS_ISSUED} THEN 0 ELSE device.consecutive_failures END`;

/** Where central could not serve a device. A MAC that never got a manifest has no state, and gets none. $1…$9: the audit's row, $10: what the error says. */
export const AUDIT_NOT_SERVED = `
  WITH audited AS (${AUDIT_REQUEST})
  UPDATE waypost.device_states SET
    last_request_at = CASE WHEN $4 = 'request' THEN greatest(last_request_at, ${CAME_AT}) ELSE last_request_at END,
    last_failure_at = now(), last_error_code = $6, last_error = left($10, 1000), consecutive_failures = consecutive_failures + 1
  WHERE mac = $1`;

/** Adds to the counts of this hour. $1: operations, $2: reasons, $3: requests, $4: sums of ms, $5: longest ms. */
export const COUNT_REFUSALS = `
  INSERT INTO waypost.hourly_refusals AS counted (hour, operation, reason, requests, duration_ms, max_duration_ms)
  SELECT date_trunc('hour', now(), 'UTC'), * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
  ON CONFLICT (hour, operation, reason) DO UPDATE SET
    requests = counted.requests + excluded.requests, duration_ms = counted.duration_ms + excluded.duration_ms,
    max_duration_ms = greatest(counted.max_duration_ms, excluded.max_duration_ms)`;
