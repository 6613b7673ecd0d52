/**
 * $1: id, $2: status, $3: manifest, $4: error code, $5: error text, $6: downloaded bytes, $7: rows loaded, $8: duration in ms, which no clock
 * that was set meanwhile falsifies. An outcome is never overwritten.
 */
export const FINISH_CYCLE = `
  UPDATE waypost.edge_sync_log
  SET status = $2, manifest_id = coalesce($3, manifest_id), error_code = $4, error_text = $5, downloaded_bytes = $6, rows_loaded = $7,
      completed_at = started_at + $8::bigint * interval '1 ms', duration_ms = $8
  WHERE id = $1 AND status = 'Running'`;

/** $1: cycle, $2: names, $3: row counts, $4: hashes, $5: actions, $6: downloaded bytes. */
export const INSERT_TABLES = `
  INSERT INTO waypost.edge_sync_tables (edge_sync_id, table_name, row_count, sha256, action, downloaded_bytes)
  SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[])`;

export const BEGIN_CYCLE = `
  INSERT INTO waypost.edge_sync_log (id, started_at, status, trigger) VALUES ($1, clock_timestamp(), 'Running', $2)`;

export const FAIL_INTERRUPTED = `
  UPDATE waypost.edge_sync_log
  SET status = 'Failed', error_code = 'SHUTTING_DOWN', error_text = 'interrupted: the process ended during the cycle',
      completed_at = greatest(started_at, clock_timestamp()),
      duration_ms = greatest(0, 1000 * extract(epoch FROM clock_timestamp() - started_at))
  WHERE status = 'Running'
  RETURNING id`;

export const TOTALS = `
  SELECT count(*) FILTER (WHERE status <> 'Running') AS cycles, count(*) FILTER (WHERE status = 'Success') AS successful,
         count(*) FILTER (WHERE status = 'Unchanged') AS unchanged, count(*) FILTER (WHERE status = 'Failed') AS failed,
         coalesce(sum(rows_loaded), 0) AS rows
  FROM waypost.edge_sync_log`;
