/** What keeps PRUNE_CHANGES from going on: the oldest open transaction that has written, of any database, prepared ones too. */
export const OLDEST_TRANSACTION = `
  SELECT CASE WHEN pg_snapshot_xmin(now.snapshot) < pg_snapshot_xmax(now.snapshot) THEN pg_snapshot_xmin(now.snapshot)::text END AS xid,
         extract(epoch FROM clock_timestamp() - least((SELECT min(xact_start) FROM pg_stat_activity WHERE backend_xid IS NOT NULL),
                                                      (SELECT min(prepared) FROM pg_prepared_xacts)))::float8 AS age
  FROM (SELECT pg_current_snapshot() AS snapshot) AS now`;
