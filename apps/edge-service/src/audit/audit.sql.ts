/**
 * $1: id, $2: status, $3: manifest, $4: error code, $5: error text, $6: downloaded bytes, $7: rows loaded, $8: duration in ms, which no clock
 * that was set meanwhile falsifies. An outcome is never overwritten.
 */
export const FINISH_CYCLE = `
  UPDATE waypost.edge_sync_log
  SET status = $2, manifest_id = coalesce($3, manifest_id), error_code = $4, error_text = $5, downloaded_bytes = $6, rows_loaded = $7,
      completed_at = started_at + $8::bigint * interval '1 ms', duration_ms = $8
  WHERE id = $1 AND status = 'Running'`;

/** As FINISH_CYCLE, also where the database lost the record that the cycle began. $9: when it began, $10: what triggered it. */
export const FAIL_CYCLE = `
  INSERT INTO waypost.edge_sync_log AS log
    (id, status, manifest_id, error_code, error_text, downloaded_bytes, rows_loaded, duration_ms, started_at, completed_at, trigger)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9::timestamptz + $8::bigint * interval '1 ms', $10)
  ON CONFLICT (id) DO UPDATE
  SET status = excluded.status, manifest_id = coalesce(excluded.manifest_id, log.manifest_id), error_code = excluded.error_code,
      error_text = excluded.error_text, downloaded_bytes = excluded.downloaded_bytes, rows_loaded = excluded.rows_loaded,
      completed_at = log.started_at + excluded.duration_ms * interval '1 ms', duration_ms = excluded.duration_ms
  WHERE log.status = 'Running'
  RETURNING id`;

/** $1: cycle; from `first` on: names, row counts, hashes, actions, downloaded bytes, ways, reasons. */
export const insertTables = (first: number): string => `
  INSERT INTO waypost.edge_sync_tables (edge_sync_id, table_name, row_count, sha256, action, downloaded_bytes, way, reason)
  SELECT $1, * FROM unnest($${first}::text[], $${first + 1}::bigint[], $${first + 2}::text[], $${first + 3}::text[], $${first + 4}::bigint[],
                           $${first + 5}::text[], $${first + 6}::text[])`;

/** $1: id, $2: what triggered it. */
export const BEGIN_CYCLE = `
  INSERT INTO waypost.edge_sync_log (id, started_at, status, trigger) VALUES ($1, clock_timestamp(), 'Running', $2)`;

export const FAIL_INTERRUPTED = `
  UPDATE waypost.edge_sync_log
  SET status = 'Failed', error_code = 'SHUTTING_DOWN', error_text = 'interrupted: the process ended during the cycle',
      completed_at = greatest(started_at, clock_timestamp()),
      duration_ms = greatest(0, 1000 * extract(epoch FROM clock_timestamp() - started_at))
  WHERE status = 'Running'
  RETURNING id`;

/** Over all cycles that ever were, pruned ones too. */
export const TOTALS = `
  SELECT coalesce(sum(cycles), 0) AS cycles, coalesce(sum(cycles) FILTER (WHERE status = 'Success'), 0) AS successful,
         coalesce(sum(cycles) FILTER (WHERE status = 'Unchanged'), 0) AS unchanged, coalesce(sum(cycles) FILTER (WHERE status = 'Failed'), 0) AS failed,
         coalesce(sum(rows), 0) AS rows
  FROM (
    SELECT status, cycles, rows_loaded AS rows FROM waypost.edge_hourly_cycles
    UNION ALL
    SELECT status, count(*), sum(rows_loaded) FROM waypost.edge_sync_log WHERE status <> 'Running' GROUP BY status
  ) AS counted`;

/** Drifts that syncs met. $1: retention in ms, $2: rows at most. */
export const PRUNE_DRIFTS = `
  WITH gone AS (
    DELETE FROM waypost.edge_drifts WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM waypost.edge_drifts WHERE scrub_id IS NULL AND found_at < now() - $1 * interval '1 ms' LIMIT $2)) RETURNING 1
  )
  SELECT count(*)::int AS removed FROM gone`;

/** Scrubs, but for the last. $1: retention in ms, $2: scrubs at most. */
export const PRUNE_SCRUBS = `
  WITH gone AS (
    DELETE FROM waypost.edge_scrubs WHERE id = ANY (ARRAY(
      SELECT id FROM waypost.edge_scrubs WHERE started_at < now() - $1 * interval '1 ms'
        AND id IS DISTINCT FROM (SELECT id FROM waypost.edge_scrubs WHERE completed_at IS NOT NULL ORDER BY started_at DESC LIMIT 1)
      LIMIT $2)) RETURNING 1
  )
  SELECT count(*)::int AS removed FROM gone`;

/**
 * Moves old cycles into the hourly counts, each once: it is one statement. What stays: the last cycle, the last good one and the last that
 * loaded something, those of the manifest that is applied, and those whose acknowledgement waits. $1: retention in ms, $2: cycles at most.
 */
export const PRUNE_CYCLES = `
  WITH gone AS (
    DELETE FROM waypost.edge_sync_log WHERE id = ANY (ARRAY(
      SELECT id FROM waypost.edge_sync_log
      WHERE started_at < now() - $1 * interval '1 ms' AND status <> 'Running'
        AND id NOT IN (
          (SELECT id FROM waypost.edge_sync_log ORDER BY started_at DESC LIMIT 1) UNION ALL
          (SELECT id FROM waypost.edge_sync_log WHERE status = 'Success' ORDER BY started_at DESC LIMIT 1) UNION ALL
          (SELECT id FROM waypost.edge_sync_log WHERE status IN ('Success', 'Unchanged') ORDER BY started_at DESC LIMIT 1))
        AND (manifest_id IS NULL OR manifest_id NOT IN (
          SELECT manifest_id FROM waypost.edge_acks UNION ALL SELECT value FROM waypost.edge_sync_state WHERE key = 'manifest_id'))
      ORDER BY started_at LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING *
  ), counted AS (
    INSERT INTO waypost.edge_hourly_cycles AS h
    SELECT date_trunc('hour', started_at, 'UTC'), status, coalesce(error_code, ''), count(*), sum(rows_loaded), sum(downloaded_bytes),
           coalesce(sum(duration_ms), 0), coalesce(max(duration_ms), 0)
    FROM gone GROUP BY 1, 2, 3
    ON CONFLICT (hour, status, error_code) DO UPDATE SET
      cycles = h.cycles + excluded.cycles, rows_loaded = h.rows_loaded + excluded.rows_loaded, downloaded_bytes = h.downloaded_bytes + excluded.downloaded_bytes,
      duration_ms = h.duration_ms + excluded.duration_ms, max_duration_ms = greatest(h.max_duration_ms, excluded.max_duration_ms)
  )
  SELECT count(*)::int AS removed FROM gone`;

/** Acknowledgements that central refused for good. $1: retention in ms, $2: how many at most. */
export const PRUNE_REFUSED_ACKS = `
  WITH gone AS (
    DELETE FROM waypost.edge_acks WHERE (manifest_id, status) IN (
      SELECT manifest_id, status FROM waypost.edge_acks WHERE refused_at < now() - $1 * interval '1 ms' LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING 1
  )
  SELECT count(*)::int AS removed FROM gone`;

/** $1: cycle, then objects, statements, fingerprints before, fingerprints after. */
export const INSERT_SCHEMA_CHANGES = `
  INSERT INTO waypost.edge_schema_changes (edge_sync_id, object, statement, shape_from, shape_to)
  SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])`;

/** Old receipts that are in the ledger: but for the last of each key, which the next one names. $1: retention in ms, $2: rows at most. */
export const PRUNE_RECEIPTS = `
  WITH gone AS (
    DELETE FROM waypost.edge_receipts WHERE id IN (
      SELECT id FROM waypost.edge_receipts r WHERE coalesce(included_at, refused_at) < now() - $1 * interval '1 ms'
        AND EXISTS (SELECT FROM waypost.edge_receipts later WHERE later.key = r.key AND later.sequence > r.sequence)
      LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING 1
  )
  SELECT count(*)::int AS removed FROM gone`;
