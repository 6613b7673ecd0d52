/**
 * Counts whole hours into the hourly tables. The mark moves in the same transaction, so an hour is counted once, whatever dies when.
 * $1: how many hours at most, $2: ms that a request may take from its start to its audit row; hours that may still get rows are left.
 */
export const NEXT_HOURS = `
  SELECT since, least(since + $1 * interval '1 hour', closed) AS until, since + $1 * interval '1 hour' < closed AS more
  FROM (
    SELECT greatest(counted_until, date_trunc('hour', least(
             (SELECT min(requested_at) FROM waypost.sync_requests), (SELECT min(completed_at) FROM waypost.sync_acknowledgements),
             (SELECT min(generated_at) FROM waypost.manifests)), 'UTC')) AS since,
           date_trunc('hour', now() - $2 * interval '1 ms', 'UTC') AS closed
    FROM waypost.hourly_state FOR UPDATE
  ) AS mark
  WHERE since < closed AND since > '-infinity'`;

/** $1, $2: from and until, whole hours. An hour that is there already is replaced. */
export const COUNT_HOURS = [
  `INSERT INTO waypost.hourly_requests SELECT * FROM waypost.count_requests($1, $2)
   ON CONFLICT (hour, operation, status, reason) DO UPDATE SET requests = excluded.requests, devices = excluded.devices,
     duration_ms = excluded.duration_ms, max_duration_ms = excluded.max_duration_ms`,
  `INSERT INTO waypost.hourly_acks SELECT * FROM waypost.count_acks($1, $2)
   ON CONFLICT (hour, result, error_code) DO UPDATE SET acks = excluded.acks, devices = excluded.devices,
     duration_ms = excluded.duration_ms, max_duration_ms = excluded.max_duration_ms`,
  `INSERT INTO waypost.hourly_table_changes SELECT * FROM waypost.count_table_changes($1, $2)
   ON CONFLICT (hour, table_name) DO UPDATE SET manifests = excluded.manifests, changed = excluded.changed,
     rows_added = excluded.rows_added, rows_removed = excluded.rows_removed`,
];

/** $1: until. */
export const MARK_COUNTED = 'UPDATE waypost.hourly_state SET counted_until = $1';

/** Older than the retention, and counted. $1: retention in ms. */
const OUTDATED = `least(now() - $1 * interval '1 ms', (SELECT counted_until FROM waypost.hourly_state))`;

/**
 * Batches of what the retention lets go, of each kind. Rows that are in use are passed over. $1: retention in ms, $2: rows at most.
 * Of a device's manifests, the last one, the one that it proved last and, in the epoch in force, the one with the highest sequence stay,
 * with their successful acknowledgements; and all that can still be downloaded.
 */
export const PRUNE = {
  requests: `
    DELETE FROM waypost.sync_requests WHERE id = ANY (ARRAY(
      SELECT id FROM waypost.sync_requests WHERE requested_at < ${OUTDATED} ORDER BY requested_at LIMIT $2 FOR UPDATE SKIP LOCKED))`,
  failedAcks: `
    DELETE FROM waypost.sync_acknowledgements WHERE id = ANY (ARRAY(
      SELECT id FROM waypost.sync_acknowledgements
      WHERE completed_at < ${OUTDATED} AND result = 'Failed' ORDER BY completed_at LIMIT $2 FOR UPDATE SKIP LOCKED))`,
  driftReports: `
    DELETE FROM waypost.drift_reports WHERE id = ANY (ARRAY(
      SELECT id FROM waypost.drift_reports WHERE reported_at < ${OUTDATED} ORDER BY reported_at LIMIT $2 FOR UPDATE SKIP LOCKED))`,
  manifests: `
    DELETE FROM waypost.manifests WHERE manifest_id = ANY (ARRAY(
      SELECT manifest_id FROM waypost.manifests m
      WHERE generated_at < ${OUTDATED} AND expires_at < now()
        AND NOT EXISTS (SELECT FROM waypost.device_states d WHERE d.mac = m.mac AND m.manifest_id IN (d.last_manifest_id, d.verified_manifest_id))
        AND (epoch <> (SELECT value FROM waypost.central_state WHERE key = 'epoch')
             OR EXISTS (SELECT FROM waypost.manifests n WHERE n.mac = m.mac AND n.epoch = m.epoch AND n.sequence > m.sequence))
      ORDER BY generated_at LIMIT $2 FOR UPDATE SKIP LOCKED))`,
} as const;
