import type pg from 'pg';

/**
 * Fills a device's audit, which must be migrated, with a cycle every five minutes up to now: unchanged ones, loads, failures, an outage.
 * Times end now; all else is always the same.
 */
export async function fillEdgeAudit(client: pg.ClientBase, { days }: { days: number }): Promise<void> {
  const cycles = days * 288;
  const chance = `((hashtextextended('cycle' || n, 1) & 1048575) / 1048576.0)`;
  await client.query(
    `INSERT INTO waypost.edge_sync_log (id, manifest_id, started_at, completed_at, status, duration_ms, error_code, error_text, trigger, downloaded_bytes, rows_loaded)
     SELECT '01JCYCLE' || lpad(n::text, 18, '0'), CASE WHEN status <> 'Failed' THEN '01JAUDIT' || lpad((n / 72)::text, 18, '0') END, at,
            at + took * interval '1 ms', status, took, code, code || ': as filled', 'schedule',
            CASE status WHEN 'Success' THEN 20000 + (luck * 4e6)::bigint ELSE 0 END, CASE status WHEN 'Success' THEN 800 + (luck * 2400)::bigint ELSE 0 END
     FROM generate_series(0, ${cycles - 1}) AS n, LATERAL (SELECT ${chance} AS luck, now() - (${cycles} - n) * interval '5 min' AS at) AS facts,
          LATERAL (SELECT CASE WHEN n % 500 BETWEEN 480 AND 495 THEN 'CENTRAL_UNREACHABLE' WHEN luck < 0.006 THEN 'LOCK_TIMEOUT' WHEN luck < 0.009 THEN 'VERIFICATION_FAILED' END AS code) AS error,
          LATERAL (SELECT CASE WHEN code IS NOT NULL THEN 'Failed' WHEN n % 24 = 0 THEN 'Success' ELSE 'Unchanged' END AS status) AS outcome,
          LATERAL (SELECT (CASE status WHEN 'Success' THEN 700 + 2500 * luck WHEN 'Failed' THEN 9000 ELSE 60 + 80 * luck END)::int AS took) AS duration`,
  );
  await client.query(
    `INSERT INTO waypost.edge_sync_tables (edge_sync_id, table_name, row_count, sha256, action, downloaded_bytes)
     SELECT id, name, base + nr / every % 50, md5(name || nr / every) || md5(name),
            CASE WHEN status = 'Success' AND share > 0 THEN 'loaded' ELSE 'unchanged' END, (downloaded_bytes * share)::bigint
     FROM (SELECT *, substr(id, 9)::int AS nr FROM waypost.edge_sync_log WHERE status <> 'Failed') AS l,
          (VALUES ('companies', 1, 1000000, 0), ('locations', 1, 1000000, 0), ('users', 800, 24, 0.3), ('group_members', 2400, 24, 0.6), ('areas', 40, 240, 0.1))
            AS tables(name, base, every, share)`,
  );
}
