import { hasProven } from '../database/device-states.sql.js';
import { CURRENT_CLUSTER, CURRENT_EPOCH, PRUNED_BEFORE } from '../epochs/central-state.sql.js';
import { livesOn } from './manifests.sql.js';
import { HAS_FINDING } from '../capture/findings.sql.js';
import { FINGERPRINT_CATALOG } from '../capture/sources.sql.js';

const STILL_VERIFIED = hasProven('held.manifest_id');

/** $1, $2, $3: as of FINGERPRINT_CATALOG. Definitions, epoch, the last sequence, and whether capture is in doubt, as they are now. */
export const READ_CIRCUMSTANCES = `
  SELECT (${FINGERPRINT_CATALOG}) AS fingerprint, ${HAS_FINDING} AS "hasFinding",
         ${CURRENT_EPOCH} AS epoch, ${CURRENT_CLUSTER} AS cluster,
         (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM waypost.manifest_sequence)::int8::text AS "lastSequence"`;

/**
 * Answers polls of devices: audits those that hold their last manifest while no change to the tables it came from is visible now that it has not
 * seen, and returns their request ids with the manifests' hashes. One statement has one snapshot: a change is missed only by not being committed yet, and then the
 * next poll finds it.
 * $1…$6, one element for each poll: MAC, manifest, time, ms since then, request id, cycle id. $7: epoch, $8: fingerprint, $9: oids of the tables,
 * $10: central's clock, $11: ms of a manifest's life.
 */
export const ANSWER_UNCHANGED = `
  WITH polled AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::integer[], $5::text[], $6::text[])
      AS p(mac, manifest_id, requested_at, duration_ms, request_id, cycle_id)
  ), held AS MATERIALIZED (
    SELECT p.*, m.sha256 FROM polled p JOIN waypost.manifests m ON m.manifest_id = p.manifest_id AND m.mac = p.mac
    WHERE m.epoch = $7 AND m.watch = $8
      AND pg_snapshot_xmin(m.seen) >= coalesce((SELECT value::xid8 FROM waypost.central_state WHERE key = '${PRUNED_BEFORE}'), '0')
      AND ${livesOn('m', { time: '$10', life: '$11' })}
      AND NOT EXISTS (SELECT FROM waypost.manifests later WHERE later.mac = p.mac AND later.epoch = $7 AND later.sequence > m.sequence)
      AND NOT EXISTS (SELECT FROM waypost.changes c WHERE c.relation = ANY($9::oid[]) AND c.xid >= pg_snapshot_xmin(m.seen)
                      AND NOT pg_visible_in_snapshot(c.xid, m.seen))
  ), audited AS (
    INSERT INTO waypost.sync_requests (mac, manifest_id, requested_at, operation, status, reason, duration_ms, request_id, cycle_id)
    SELECT mac, manifest_id, requested_at, 'request', 'Issued', 'unchanged', duration_ms, request_id, cycle_id FROM held
  ), states AS (
    UPDATE waypost.device_states AS device SET
      last_request_at = greatest(device.last_request_at, held.came_at),
      verified_at = CASE WHEN ${STILL_VERIFIED} THEN greatest(device.verified_at, held.came_at) ELSE device.verified_at END,
      consecutive_failures = CASE WHEN ${STILL_VERIFIED} THEN 0 ELSE device.consecutive_failures END
    FROM (SELECT mac, manifest_id, now() - max(duration_ms) * interval '1 ms' AS came_at FROM held GROUP BY mac, manifest_id) AS held
    WHERE device.mac = held.mac
  )
  SELECT request_id AS "requestId", sha256 FROM held`;

/** $1: ids. */
export const READ_DOCUMENTS = 'SELECT manifest_id AS "manifestId", document FROM waypost.manifests WHERE manifest_id = ANY($1::text[])';
