import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Views for the questions that operators ask (docs/dashboards.md), and the hourly counts that keep them fast and outlive the pruning. */
export class CreateAuditViews1795400000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    for (const part of [COUNTS, COUNTING, HOURLY_VIEWS, DEVICE_VIEWS, COMMENTS]) await runner.query(part);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP VIEW waypost.device_history, waypost.slowest_devices, waypost.table_changes, waypost.failures_by_reason, waypost.success_rates,
                waypost.table_changes_by_hour, waypost.acks_by_hour, waypost.requests_by_hour;
      DROP FUNCTION waypost.devices_without_ack, waypost.device_durations, waypost.count_table_changes, waypost.count_acks, waypost.count_requests,
                    waypost.ack_error_code;
      DROP TABLE waypost.hourly_table_changes, waypost.hourly_acks, waypost.hourly_requests, waypost.hourly_state;
      DROP INDEX waypost.manifests_by_time, waypost.sync_acknowledgements_by_time;`);
  }
}

const COUNTS = `
  CREATE INDEX manifests_by_time ON waypost.manifests (generated_at);
  CREATE INDEX sync_acknowledgements_by_time ON waypost.sync_acknowledgements (completed_at);

  CREATE TABLE waypost.hourly_state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    counted_until timestamptz NOT NULL
  );
  INSERT INTO waypost.hourly_state (counted_until) VALUES ('-infinity');

  CREATE TABLE waypost.hourly_requests (
    hour timestamptz NOT NULL, operation text NOT NULL, status text NOT NULL, reason text NOT NULL,
    requests bigint NOT NULL, devices bigint NOT NULL, duration_ms bigint NOT NULL, max_duration_ms bigint NOT NULL,
    PRIMARY KEY (hour, operation, status, reason)
  );
  CREATE TABLE waypost.hourly_acks (
    hour timestamptz NOT NULL, result text NOT NULL, error_code text NOT NULL,
    acks bigint NOT NULL, devices bigint NOT NULL, duration_ms bigint NOT NULL, max_duration_ms bigint NOT NULL,
    PRIMARY KEY (hour, result, error_code)
  );
  CREATE TABLE waypost.hourly_table_changes (
    hour timestamptz NOT NULL, table_name text NOT NULL,
    manifests bigint NOT NULL, changed bigint NOT NULL, rows_added bigint NOT NULL, rows_removed bigint NOT NULL,
    PRIMARY KEY (hour, table_name)
  );`;

/** Of [$1, $2), by hours of UTC: what the sweeper stores, and what the views add for the hours that it has not stored yet. */
const COUNTING = `
  CREATE FUNCTION waypost.ack_error_code(result text, reported_status text, error_text text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN $1 = 'Success' THEN '' WHEN $2 = 'Success' THEN 'VERIFICATION_FAILED'
                ELSE coalesce(substring($3 FROM '^([A-Z][A-Z_]+): '), 'UNKNOWN') END $$;

  CREATE FUNCTION waypost.count_requests(since timestamptz, until timestamptz) RETURNS SETOF waypost.hourly_requests LANGUAGE sql STABLE AS $$
    SELECT date_trunc('hour', requested_at, 'UTC'), operation, status, coalesce(reason, ''),
           count(*), count(DISTINCT mac), sum(duration_ms)::bigint, max(duration_ms)::bigint
    FROM waypost.sync_requests WHERE requested_at >= $1 AND requested_at < $2 GROUP BY 1, 2, 3, 4 $$;

  CREATE FUNCTION waypost.count_acks(since timestamptz, until timestamptz) RETURNS SETOF waypost.hourly_acks LANGUAGE sql STABLE AS $$
    SELECT date_trunc('hour', completed_at, 'UTC'), result, waypost.ack_error_code(result, reported_status, error_text),
           count(*), count(DISTINCT mac), sum(duration_ms)::bigint, max(duration_ms)::bigint
    FROM waypost.sync_acknowledgements WHERE completed_at >= $1 AND completed_at < $2 GROUP BY 1, 2, 3 $$;

  CREATE FUNCTION waypost.count_table_changes(since timestamptz, until timestamptz) RETURNS SETOF waypost.hourly_table_changes LANGUAGE sql STABLE AS $$
    SELECT date_trunc('hour', m.generated_at, 'UTC'), t.table_name, count(*), count(*) FILTER (WHERE t.sha256 <> b.sha256),
           coalesce(sum(t.row_count - b.row_count) FILTER (WHERE t.row_count > b.row_count), 0)::bigint,
           coalesce(sum(b.row_count - t.row_count) FILTER (WHERE t.row_count < b.row_count), 0)::bigint
    FROM (
      SELECT manifest_id, generated_at,
             (SELECT p.manifest_id FROM waypost.manifests p
              WHERE p.mac = n.mac AND p.epoch = n.epoch AND p.sequence < n.sequence ORDER BY p.sequence DESC LIMIT 1) AS before_id
      FROM waypost.manifests n WHERE generated_at >= $1 AND generated_at < $2
    ) m
    JOIN waypost.sync_manifests t USING (manifest_id)
    LEFT JOIN waypost.sync_manifests b ON b.manifest_id = m.before_id AND b.table_name = t.table_name
    GROUP BY 1, 2 $$;`;

const HOURLY_VIEWS = `
  CREATE VIEW waypost.requests_by_hour AS
  SELECT hour, operation, status, nullif(reason, '') AS reason, requests, devices,
         round(duration_ms::numeric / requests, 1) AS mean_duration_ms, max_duration_ms
  FROM (SELECT * FROM waypost.hourly_requests
        UNION ALL SELECT * FROM waypost.count_requests((SELECT counted_until FROM waypost.hourly_state), 'infinity')) AS counted;

  CREATE VIEW waypost.acks_by_hour AS
  SELECT hour, result, nullif(error_code, '') AS error_code, acks, devices,
         round(duration_ms::numeric / acks, 1) AS mean_duration_ms, max_duration_ms
  FROM (SELECT * FROM waypost.hourly_acks
        UNION ALL SELECT * FROM waypost.count_acks((SELECT counted_until FROM waypost.hourly_state), 'infinity')) AS counted;

  CREATE VIEW waypost.table_changes_by_hour AS
  SELECT * FROM waypost.hourly_table_changes
  UNION ALL SELECT * FROM waypost.count_table_changes((SELECT counted_until FROM waypost.hourly_state), 'infinity');

  CREATE VIEW waypost.success_rates AS
  SELECT hour, sum(issued)::bigint AS issued, sum(refused)::bigint AS refused, sum(failed)::bigint AS failed,
         round(sum(issued) / nullif(sum(issued) + sum(refused) + sum(failed), 0), 4) AS request_success_rate,
         sum(acked)::bigint AS acks_succeeded, sum(ack_failed)::bigint AS acks_failed,
         round(sum(acked) / nullif(sum(acked) + sum(ack_failed), 0), 4) AS ack_success_rate
  FROM (
    SELECT hour, CASE status WHEN 'Issued' THEN requests ELSE 0 END AS issued, CASE status WHEN 'Refused' THEN requests ELSE 0 END AS refused,
           CASE status WHEN 'Failed' THEN requests ELSE 0 END AS failed, 0 AS acked, 0 AS ack_failed
    FROM waypost.requests_by_hour WHERE operation = 'request'
    UNION ALL
    SELECT hour, 0, 0, 0, CASE result WHEN 'Success' THEN acks ELSE 0 END, CASE result WHEN 'Failed' THEN acks ELSE 0 END
    FROM waypost.acks_by_hour
  ) AS counted GROUP BY hour;

  CREATE VIEW waypost.failures_by_reason AS
  SELECT hour, operation AS source, reason, requests AS failures, devices FROM waypost.requests_by_hour WHERE status <> 'Issued'
  UNION ALL
  SELECT hour, 'device', error_code, acks, devices FROM waypost.acks_by_hour WHERE result = 'Failed';`;

const DEVICE_VIEWS = `
  CREATE VIEW waypost.table_changes AS
  SELECT m.mac, t.table_name, m.generated_at, m.manifest_id, m.epoch, m.sequence, t.row_count,
         t.row_count - lag(t.row_count) OVER w AS row_delta, t.sha256 <> lag(t.sha256) OVER w AS changed, t.sha256
  FROM waypost.manifests m JOIN waypost.sync_manifests t USING (manifest_id)
  WINDOW w AS (PARTITION BY m.mac, t.table_name ORDER BY m.generated_at, m.sequence);

  CREATE FUNCTION waypost.device_durations(since timestamptz, until timestamptz DEFAULT 'infinity')
  RETURNS TABLE (mac text, syncs bigint, failed bigint, median_ms bigint, p95_ms bigint, max_ms bigint) LANGUAGE sql STABLE AS $$
    SELECT mac, count(*), count(*) FILTER (WHERE result = 'Failed'), (percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms))::bigint,
           (percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms))::bigint, max(duration_ms)
    FROM waypost.sync_acknowledgements WHERE completed_at >= $1 AND completed_at < $2 GROUP BY mac $$;

  CREATE VIEW waypost.slowest_devices AS
  SELECT * FROM waypost.device_durations(now() - interval '24 hours') ORDER BY p95_ms DESC;

  CREATE FUNCTION waypost.devices_without_ack(hours numeric) RETURNS SETOF waypost.device_status LANGUAGE sql STABLE AS $$
    SELECT * FROM waypost.device_status WHERE verified_at IS NULL OR verified_at < now() - $1 * interval '1 hour' ORDER BY verified_at NULLS FIRST $$;

  CREATE VIEW waypost.device_history AS
  SELECT mac, requested_at AS at, operation AS event, status AS outcome, reason, manifest_id, duration_ms::bigint AS duration_ms, NULL AS detail
  FROM waypost.sync_requests
  UNION ALL
  SELECT mac, completed_at, 'ack', result, nullif(waypost.ack_error_code(result, reported_status, error_text), ''), manifest_id, duration_ms, error_text
  FROM waypost.sync_acknowledgements;`;

const COMMENTS = `
  COMMENT ON TABLE waypost.hourly_state IS 'Hours before counted_until are in the hourly_ tables; later ones are counted from the audit when a view is read.';
  COMMENT ON TABLE waypost.hourly_requests IS 'Requests by hour of UTC, never pruned. Read them through waypost.requests_by_hour.';
  COMMENT ON TABLE waypost.hourly_acks IS 'Acknowledgements by hour of UTC, never pruned. Read them through waypost.acks_by_hour.';
  COMMENT ON TABLE waypost.hourly_table_changes IS 'Changes of tables by hour of UTC, never pruned. Read them through waypost.table_changes_by_hour.';

  COMMENT ON VIEW waypost.requests_by_hour IS 'Requests of devices by hour of UTC: all that ever came. Downloads and acks are in it only where they were refused.';
  COMMENT ON COLUMN waypost.requests_by_hour.operation IS 'request, download or ack.';
  COMMENT ON COLUMN waypost.requests_by_hour.status IS 'Issued, Refused (the device''s fault) or Failed (central''s).';
  COMMENT ON COLUMN waypost.requests_by_hour.reason IS 'The error''s code; unchanged where the last manifest was given again; else null.';
  COMMENT ON COLUMN waypost.requests_by_hour.devices IS 'Distinct MACs of this hour, operation, status and reason.';
  COMMENT ON COLUMN waypost.requests_by_hour.mean_duration_ms IS 'From a request to its answer.';
  COMMENT ON VIEW waypost.acks_by_hour IS 'Acknowledgements by hour of UTC: all that ever came.';
  COMMENT ON COLUMN waypost.acks_by_hour.result IS 'Success, or Failed: also where the device said Success and its counts or hashes are wrong.';
  COMMENT ON COLUMN waypost.acks_by_hour.error_code IS 'What failed on the device; VERIFICATION_FAILED where central found the success wrong.';
  COMMENT ON COLUMN waypost.acks_by_hour.mean_duration_ms IS 'On the device, from its request to its commit.';
  COMMENT ON VIEW waypost.table_changes_by_hour IS 'By hour of UTC and table: manifests, and what differed from the same device''s manifest before.';
  COMMENT ON COLUMN waypost.table_changes_by_hour.manifests IS 'Manifests that list the table.';
  COMMENT ON COLUMN waypost.table_changes_by_hour.changed IS 'Those whose hash differs from the manifest before.';
  COMMENT ON COLUMN waypost.table_changes_by_hour.rows_added IS 'Sum of the row counts'' growth, over all devices.';
  COMMENT ON COLUMN waypost.table_changes_by_hour.rows_removed IS 'Sum of the row counts'' decline, over all devices.';
  COMMENT ON VIEW waypost.success_rates IS 'By hour of UTC: how many requests were answered, how many syncs succeeded. Rates are from 0 to 1, null where there was nothing.';
  COMMENT ON VIEW waypost.failures_by_reason IS 'By hour of UTC: refusals and failures of central (source request, download, ack) and of devices (source device).';
  COMMENT ON VIEW waypost.table_changes IS 'Each table of each manifest beside the same device''s manifest before. Ask for one mac: all of them are many.';
  COMMENT ON COLUMN waypost.table_changes.row_delta IS 'Rows more than in the manifest before; null in the first that is kept.';
  COMMENT ON COLUMN waypost.table_changes.changed IS 'Whether the hash differs from the manifest before; null in the first that is kept.';
  COMMENT ON FUNCTION waypost.device_durations IS 'Syncs of each device that were acknowledged in the time given, and how long they took on the device.';
  COMMENT ON VIEW waypost.slowest_devices IS 'waypost.device_durations of the last 24 hours, slowest first.';
  COMMENT ON FUNCTION waypost.devices_without_ack IS 'Devices whose state was not verified for so many hours, or never: those first.';
  COMMENT ON VIEW waypost.device_history IS 'Requests, refusals and acknowledgements of devices, one row each. Ask for one mac.';`;
