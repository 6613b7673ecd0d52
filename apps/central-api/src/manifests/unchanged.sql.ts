import { hasProven } from '../audit/audit.sql.js';
import { CURRENT_CLUSTER, CURRENT_EPOCH, PRUNED_BEFORE } from '../epochs/central-state.sql.js';
import { livesOn } from './manifests.sql.js';
import { HAS_FINDING } from '../maintenance/shadow-reads.sql.js';
import { FINGERPRINT_CATALOG } from '../capture/sources.sql.js';

const STILL_VERIFIED = hasProven('held.manifest_id');

/** What a transaction sees, for what is made from it, and the definitions as of then. $1, $2, $3: as of FINGERPRINT_CATALOG. */
export const READ_SEEN = `SELECT pg_current_snapshot()::text AS seen, (${FINGERPRINT_CATALOG}) AS catalog`;

/** $1: ids of manifests, $2: what they were made from, $3: the fingerprint. */
export const NOTE_SEEN = 'UPDATE waypost.manifests SET seen = $2::pg_snapshot, watch = $3 WHERE manifest_id = ANY($1::text[])';

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

/** Snapshots that are taken from now on see all that transactions before this one changed. */
export const READ_HORIZON = 'SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS xid';

/**
 * What transactions before this one changed was seen by every live manifest and table read, and will be by every later one. $1: what READ_HORIZON gave;
 * every build that was in progress then must have ended since: its own snapshot may be older. It is written down before anything is pruned: which
 * manifests are live is told by a clock, which may be wrong, and the others must never pass for current.
 */
export const READ_SEEN_BY_ALL = `
  INSERT INTO waypost.central_state
  SELECT '${PRUNED_BEFORE}', least($1::xid8,
               (SELECT min(pg_snapshot_xmin(seen)) FROM waypost.manifests WHERE expires_at > now()),
               (SELECT min(pg_snapshot_xmin(seen)) FROM waypost.table_reads))::text
  ON CONFLICT (key) DO UPDATE SET value = greatest(central_state.value::xid8, excluded.value::xid8)::text
  RETURNING value AS xid`;

/** $1: what READ_SEEN_BY_ALL gave, $2: how many at most. */
export const PRUNE_CHANGES = `
  WITH pruned AS (
    DELETE FROM waypost.changes WHERE ctid = ANY(ARRAY(SELECT ctid FROM waypost.changes WHERE xid < $1::xid8 LIMIT $2)) RETURNING 1
  )
  SELECT count(*)::int AS pruned FROM pruned`;

/** What keeps PRUNE_CHANGES from going on: the oldest transaction under way that has written, of any database, prepared ones too. */
export const OLDEST_TRANSACTION = `
  SELECT CASE WHEN pg_snapshot_xmin(now.snapshot) < pg_snapshot_xmax(now.snapshot) THEN pg_snapshot_xmin(now.snapshot)::text END AS xid,
         extract(epoch FROM clock_timestamp() - least((SELECT min(xact_start) FROM pg_stat_activity WHERE backend_xid IS NOT NULL),
                                                      (SELECT min(prepared) FROM pg_prepared_xacts)))::float8 AS age
  FROM (SELECT pg_current_snapshot() AS snapshot) AS now`;
