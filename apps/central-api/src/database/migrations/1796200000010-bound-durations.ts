import type { MigrationInterface, QueryRunner } from 'typeorm';

/** 366 days, as in the schema of acknowledgements (MAX_ACK_DURATION_MS): earlier versions took more, and sums of it overflowed. */
const DURATION = 'least(duration_ms, 31622400000)';
const MAX_BIGINT = '9223372036854775807';

/** Durations come from devices: whatever is stored, counting and views go on. */
export class BoundDurations1796200000010 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(countAcks(DURATION));
    await runner.query(deviceDurations(DURATION));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(countAcks('duration_ms'));
    await runner.query(deviceDurations('duration_ms'));
  }
}

const countAcks = (duration: string): string => `
  CREATE OR REPLACE FUNCTION waypost.count_acks(since timestamptz, until timestamptz) RETURNS SETOF waypost.hourly_acks LANGUAGE sql STABLE AS $$
    SELECT date_trunc('hour', completed_at, 'UTC'), result, waypost.ack_error_code(result, reported_status, error_text),
           count(*), count(DISTINCT mac), least(sum(${duration}), ${MAX_BIGINT})::bigint, max(${duration})::bigint
    FROM waypost.sync_acknowledgements WHERE completed_at >= $1 AND completed_at < $2 GROUP BY 1, 2, 3 $$`;

const deviceDurations = (duration: string): string => `
  CREATE OR REPLACE FUNCTION waypost.device_durations(since timestamptz, until timestamptz DEFAULT 'infinity')
  RETURNS TABLE (mac text, syncs bigint, failed bigint, median_ms bigint, p95_ms bigint, max_ms bigint) LANGUAGE sql STABLE AS $$
    SELECT mac, count(*), count(*) FILTER (WHERE result = 'Failed'), (percentile_cont(0.5) WITHIN GROUP (ORDER BY ${duration}))::bigint,
           (percentile_cont(0.95) WITHIN GROUP (ORDER BY ${duration}))::bigint, max(${duration})
    FROM waypost.sync_acknowledgements WHERE completed_at >= $1 AND completed_at < $2 GROUP BY mac $$`;
