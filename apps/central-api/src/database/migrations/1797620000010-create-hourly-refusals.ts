import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Refusals that came too often to be a row each: counted by hour, and part of the views of the audit. */
export class CreateHourlyRefusals1797620000010 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.hourly_refusals (
        hour timestamptz NOT NULL, operation text NOT NULL, reason text NOT NULL,
        requests bigint NOT NULL, duration_ms bigint NOT NULL, max_duration_ms bigint NOT NULL,
        PRIMARY KEY (hour, operation, reason)
      );
      COMMENT ON TABLE waypost.hourly_refusals IS
        'By hour of UTC: refused requests that are no rows of sync_requests, as too many came in a minute. Read them through waypost.requests_by_hour.';

      CREATE OR REPLACE FUNCTION waypost.count_requests(since timestamptz, until timestamptz) RETURNS SETOF waypost.hourly_requests LANGUAGE sql STABLE AS $$
        SELECT hour, operation, status, reason, sum(requests)::bigint, sum(devices)::bigint, sum(duration_ms)::bigint, max(max_duration_ms)::bigint
        FROM (
          SELECT date_trunc('hour', requested_at, 'UTC') AS hour, operation, status, coalesce(reason, '') AS reason,
                 count(*) AS requests, count(DISTINCT mac) AS devices, sum(duration_ms) AS duration_ms, max(duration_ms)::bigint AS max_duration_ms
          FROM waypost.sync_requests WHERE requested_at >= $1 AND requested_at < $2 GROUP BY 1, 2, 3, 4
          UNION ALL
          SELECT hour, operation, 'Refused', reason, requests, 0, duration_ms, max_duration_ms FROM waypost.hourly_refusals WHERE hour >= $1 AND hour < $2
        ) AS counted GROUP BY 1, 2, 3, 4 $$;`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE OR REPLACE FUNCTION waypost.count_requests(since timestamptz, until timestamptz) RETURNS SETOF waypost.hourly_requests LANGUAGE sql STABLE AS $$
        SELECT date_trunc('hour', requested_at, 'UTC'), operation, status, coalesce(reason, ''),
               count(*), count(DISTINCT mac), sum(duration_ms)::bigint, max(duration_ms)::bigint
        FROM waypost.sync_requests WHERE requested_at >= $1 AND requested_at < $2 GROUP BY 1, 2, 3, 4 $$;
      DROP TABLE waypost.hourly_refusals`);
  }
}
