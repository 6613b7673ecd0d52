import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * What is known of each device, beside the audit: kept up to date by the very statements that audit (audit/audit.sql.ts), so it never says
 * otherwise, and it outlives the pruning of the audit. No index but the key, and free space on each page: an update stays on its page (HOT).
 */
export class CreateDeviceStates1795300000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.device_states (
        mac text PRIMARY KEY,
        first_seen_at timestamptz NOT NULL,
        last_request_at timestamptz NOT NULL,
        last_manifest_id text NOT NULL,
        verified_manifest_id text,
        verified_sequence bigint,
        verified_epoch text,
        verified_at timestamptz,
        failed_manifest_id text,
        last_failure_at timestamptz,
        last_error_code text,
        last_error text,
        consecutive_failures integer NOT NULL DEFAULT 0,
        filters jsonb NOT NULL
      ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

      CREATE VIEW waypost.device_status AS
      SELECT mac, first_seen_at, last_request_at, last_manifest_id, verified_manifest_id, verified_sequence, verified_epoch, verified_at,
             CASE WHEN verified_at IS NOT NULL THEN greatest(now() - verified_at, interval '0') END AS verified_age,
             last_failure_at, last_error_code, last_error, consecutive_failures, filters
      FROM waypost.device_states;`);
    await runner.query(COMMENTS);
    await runner.query(CARRY_OVER);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP VIEW waypost.device_status; DROP TABLE waypost.device_states;');
  }
}

const COMMENTS = `
  COMMENT ON TABLE waypost.device_states IS
    'One row for each device that ever got a manifest. Read it through waypost.device_status.';
  COMMENT ON COLUMN waypost.device_states.failed_manifest_id IS
    'The manifest whose last acknowledgement was a failure: until a success follows, holding it proves nothing.';
  COMMENT ON VIEW waypost.device_status IS
    'One row for each device that ever got a manifest. Times are those of the database''s clock.';
  COMMENT ON COLUMN waypost.device_status.mac IS 'The device''s MAC address, in lower case with colons.';
  COMMENT ON COLUMN waypost.device_status.first_seen_at IS 'Its first request that was answered with a manifest.';
  COMMENT ON COLUMN waypost.device_status.last_request_at IS 'Its last request for a manifest, answered or refused.';
  COMMENT ON COLUMN waypost.device_status.last_manifest_id IS 'The manifest that it got last.';
  COMMENT ON COLUMN waypost.device_status.verified_manifest_id IS 'The manifest that it last proved to hold; null before the first.';
  COMMENT ON COLUMN waypost.device_status.verified_sequence IS 'That manifest''s sequence, which orders manifests within an epoch.';
  COMMENT ON COLUMN waypost.device_status.verified_epoch IS 'That manifest''s epoch.';
  COMMENT ON COLUMN waypost.device_status.verified_at IS
    'Central''s last successful acknowledgement from it, or its last request with which it still held that manifest while nothing newer was there for it.';
  COMMENT ON COLUMN waypost.device_status.verified_age IS 'Time since verified_at; null before the first.';
  COMMENT ON COLUMN waypost.device_status.last_failure_at IS 'When it was last refused, or last acknowledged a failure.';
  COMMENT ON COLUMN waypost.device_status.last_error_code IS 'The code of that failure.';
  COMMENT ON COLUMN waypost.device_status.last_error IS 'Its text, at most 1000 characters.';
  COMMENT ON COLUMN waypost.device_status.consecutive_failures IS 'Failures since its state was last verified.';
  COMMENT ON COLUMN waypost.device_status.filters IS 'The scope''s parameters in the manifest that it got last: what the device may see.';`;

/** What the audit tells of the devices that are there already. It does not have what they said to hold: only acknowledgements count. */
const CARRY_OVER = `
  WITH issued AS (
    SELECT DISTINCT ON (mac) mac, manifest_id, min(generated_at) OVER (PARTITION BY mac) AS first_seen_at, generated_at,
           coalesce(document::jsonb -> 'filters', '{}') AS filters
    FROM waypost.manifests ORDER BY mac, generated_at DESC, sequence DESC
  ), requested AS (
    SELECT mac, max(requested_at) AS last_request_at FROM waypost.sync_requests WHERE operation = 'request' GROUP BY mac
  ), verified AS (
    SELECT DISTINCT ON (a.mac) a.mac, a.manifest_id, m.sequence, m.epoch, a.completed_at
    FROM waypost.sync_acknowledgements a JOIN waypost.manifests m USING (manifest_id)
    WHERE a.result = 'Success' ORDER BY a.mac, a.completed_at DESC, a.id DESC
  ), failures AS (
    SELECT mac, manifest_id AS acked_manifest_id, completed_at AS failed_at,
           CASE WHEN reported_status = 'Success' THEN 'VERIFICATION_FAILED' ELSE coalesce(substring(error_text FROM '^([A-Z][A-Z_]+): '), 'UNKNOWN') END AS code,
           error_text AS error
    FROM waypost.sync_acknowledgements WHERE result = 'Failed'
    UNION ALL
    SELECT mac, NULL, requested_at, reason, reason FROM waypost.sync_requests WHERE status <> 'Issued' AND mac IS NOT NULL
  ), last_failure AS (
    SELECT DISTINCT ON (mac) * FROM failures ORDER BY mac, failed_at DESC
  ), since AS (
    SELECT f.mac, count(*) AS failures, (array_agg(f.acked_manifest_id ORDER BY f.failed_at DESC) FILTER (WHERE f.acked_manifest_id IS NOT NULL))[1] AS failed_manifest_id
    FROM failures f LEFT JOIN verified v USING (mac) WHERE v.completed_at IS NULL OR f.failed_at > v.completed_at GROUP BY f.mac
  )
  INSERT INTO waypost.device_states
    (mac, first_seen_at, last_request_at, last_manifest_id, verified_manifest_id, verified_sequence, verified_epoch, verified_at,
     failed_manifest_id, last_failure_at, last_error_code, last_error, consecutive_failures, filters)
  SELECT i.mac, i.first_seen_at, coalesce(r.last_request_at, i.generated_at), i.manifest_id, v.manifest_id, v.sequence, v.epoch, v.completed_at,
         s.failed_manifest_id, f.failed_at, f.code, left(f.error, 1000), coalesce(s.failures, 0), i.filters
  FROM issued i LEFT JOIN requested r USING (mac) LEFT JOIN verified v USING (mac) LEFT JOIN last_failure f USING (mac) LEFT JOIN since s USING (mac)`;
