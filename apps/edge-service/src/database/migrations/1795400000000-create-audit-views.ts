import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Views of the device's audit, and the hourly counts of what was pruned from it: views and totals add both. */
export class CreateAuditViews1795400000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    for (const part of [TABLES, VIEWS, COMMENTS]) await runner.query(part);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP VIEW waypost.edge_table_changes, waypost.edge_slowest_cycles, waypost.edge_failures_by_code, waypost.edge_cycles_by_hour;
      DROP TABLE waypost.edge_hourly_cycles;
      DROP INDEX waypost.edge_sync_log_by_time;`);
  }
}

const TABLES = `
  CREATE INDEX edge_sync_log_by_time ON waypost.edge_sync_log (started_at);
  CREATE TABLE waypost.edge_hourly_cycles (
    hour timestamptz NOT NULL, status text NOT NULL, error_code text NOT NULL,
    cycles bigint NOT NULL, rows_loaded bigint NOT NULL, downloaded_bytes bigint NOT NULL, duration_ms bigint NOT NULL, max_duration_ms bigint NOT NULL,
    PRIMARY KEY (hour, status, error_code)
  );`;

const VIEWS = `
  CREATE VIEW waypost.edge_cycles_by_hour AS
  SELECT hour, status, nullif(error_code, '') AS error_code, sum(cycles)::bigint AS cycles, sum(rows_loaded)::bigint AS rows_loaded,
         sum(downloaded_bytes)::bigint AS downloaded_bytes, round(sum(duration_ms) / sum(cycles), 1) AS mean_duration_ms,
         max(max_duration_ms) AS max_duration_ms
  FROM (
    SELECT * FROM waypost.edge_hourly_cycles
    UNION ALL
    SELECT date_trunc('hour', started_at, 'UTC'), status, coalesce(error_code, ''), 1, rows_loaded, downloaded_bytes,
           coalesce(duration_ms, 0), coalesce(duration_ms, 0)
    FROM waypost.edge_sync_log WHERE status <> 'Running'
  ) AS cycle GROUP BY hour, status, error_code;

  CREATE VIEW waypost.edge_failures_by_code AS
  SELECT hour, error_code, cycles AS failures FROM waypost.edge_cycles_by_hour WHERE status = 'Failed';

  CREATE VIEW waypost.edge_slowest_cycles AS
  SELECT id AS cycle_id, started_at, status, duration_ms, rows_loaded, downloaded_bytes, manifest_id, trigger, error_code
  FROM waypost.edge_sync_log WHERE status <> 'Running' ORDER BY duration_ms DESC NULLS LAST;

  CREATE VIEW waypost.edge_table_changes AS
  SELECT t.table_name, l.started_at, l.manifest_id, t.row_count, t.row_count - lag(t.row_count) OVER w AS row_delta,
         t.sha256 <> lag(t.sha256) OVER w AS changed, t.action, t.downloaded_bytes, t.sha256
  FROM waypost.edge_sync_tables t JOIN waypost.edge_sync_log l ON l.id = t.edge_sync_id
  WINDOW w AS (PARTITION BY t.table_name ORDER BY l.started_at, l.id);`;

const COMMENTS = `
  COMMENT ON TABLE waypost.edge_hourly_cycles IS 'Cycles that were pruned from waypost.edge_sync_log, by hour of UTC. Read waypost.edge_cycles_by_hour.';
  COMMENT ON VIEW waypost.edge_cycles_by_hour IS 'Finished cycles by hour of UTC, status and error code: all that ever were.';
  COMMENT ON COLUMN waypost.edge_cycles_by_hour.status IS 'Success (something was loaded), Unchanged or Failed.';
  COMMENT ON COLUMN waypost.edge_cycles_by_hour.downloaded_bytes IS 'Bytes of chunk streams that came, of failed cycles too.';
  COMMENT ON VIEW waypost.edge_failures_by_code IS 'Failed cycles by hour of UTC and error code.';
  COMMENT ON VIEW waypost.edge_slowest_cycles IS 'The cycles that the log still holds, slowest first. Steps are in the metric waypost_edge_step_duration_seconds.';
  COMMENT ON VIEW waypost.edge_table_changes IS 'Each table of each cycle beside the good cycle before.';
  COMMENT ON COLUMN waypost.edge_table_changes.row_delta IS 'Rows more than in the cycle before; null in the first that is kept.';
  COMMENT ON COLUMN waypost.edge_table_changes.downloaded_bytes IS 'Bytes of its chunk stream that came in this cycle.';`;
