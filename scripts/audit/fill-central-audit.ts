import type pg from 'pg';

export interface AuditSize {
  devices: number;
  /** Up to now. */
  days: number;
  /** Of all devices together. */
  requests: number;
  manifestsPerDeviceAndDay: number;
}

const START = ({ days }: AuditSize): string => `date_trunc('minute', now()) - interval '${days} days'`;
const MAC = (device: string): string =>
  `'02:00:00:00:' || lpad(to_hex(${device} / 256), 2, '0') || ':' || lpad(to_hex(${device} % 256), 2, '0')`;
const MANIFEST_ID = (sequence: string): string => `'01JAUDIT' || lpad(${sequence}::text, 18, '0')`;
const SHA256 = (of: string): string => `md5(${of}) || md5(${of} || '+')`;
/** In [0, 1), always the same for the same text. */
const CHANCE = (of: string): string => `((hashtextextended(${of}, 1) & 1048575) / 1048576.0)`;

/** n and k count manifests: of all devices, and of one. A device is slower the higher its number; some tables change often, some never. */
const STATEMENTS = (size: AuditSize): string[] => {
  const { devices, days, requests, manifestsPerDeviceAndDay: perDay } = size;
  const manifests = devices * days * perDay;
  const secondsApart = 86_400 / perDay;
  return [
    `INSERT INTO waypost.central_state VALUES ('epoch', '01JAUDIT00000000000000EPOCH') ON CONFLICT DO NOTHING`,
    `INSERT INTO waypost.manifests (manifest_id, epoch, sequence, mac, generated_at, expires_at, sha256, document)
     SELECT ${MANIFEST_ID('n')}, (SELECT value FROM waypost.central_state WHERE key = 'epoch'), n, ${MAC('d')}, at, at + interval '24 h', ${SHA256('n::text')},
            json_build_object('filters', json_build_object('device_id', d, 'location_id', d / 4, 'company_id', d / 20))
     FROM generate_series(0, ${manifests - 1}) AS n, LATERAL (SELECT n % ${devices} AS d, n / ${devices} AS k) AS split,
          LATERAL (SELECT ${START(size)} + (k + d / ${devices}.0) * interval '${secondsApart} s' AS at) AS time`,
    `INSERT INTO waypost.sync_manifests (manifest_id, table_name, generated_at, row_count, sha256, format, filter_desc)
     SELECT manifest_id, name, generated_at, base + (sequence / ${devices} / every) % 50, ${SHA256('name || mac || sequence / ' + devices + ' / every')},
            'binary', 'location_id = :location_id [location_id = ' || (sequence % ${devices}) / 4 || ']'
     FROM waypost.manifests,
          (VALUES ('companies', 1, 1000000), ('locations', 1, 200), ('groups', 12, 40), ('users', 800, 2), ('group_members', 2400, 1),
                  ('areas', 40, 90), ('devices', 4, 60)) AS tables(name, base, every)`,
    `INSERT INTO waypost.sync_acknowledgements
       (manifest_id, mac, completed_at, result, reported_status, duration_ms, device_counts_json, device_hashes_json, error_text, ack_sha256)
     SELECT manifest_id, mac, generated_at + took * interval '1 ms', CASE WHEN error IS NULL THEN 'Success' ELSE 'Failed' END,
            CASE WHEN error IS NULL OR error LIKE 'users: %' THEN 'Success' ELSE 'Failed' END, took, '{}', '{}', error, ${SHA256('manifest_id')}
     FROM waypost.manifests,
          LATERAL (SELECT (120 + (sequence % ${devices}) * 4000.0 / ${devices} + 3000 * power(${CHANCE("'took' || sequence")}, 12))::int AS took,
                          ${CHANCE("'error' || sequence")} AS luck) AS facts,
          LATERAL (SELECT CASE WHEN luck < 0.008 THEN 'LOCK_TIMEOUT: users is locked' WHEN luck < 0.012 THEN 'DATABASE_FULL: no space left on device'
                               WHEN luck < 0.014 THEN 'users: 799 rows instead of 800' WHEN luck < 0.017 THEN 'SCHEMA_MISMATCH: users.email has another type'
                          END AS error) AS outcome
     WHERE ${CHANCE("'acked' || sequence")} < 0.995`,
    `INSERT INTO waypost.sync_requests (mac, manifest_id, requested_at, operation, status, reason, duration_ms, request_id)
     SELECT CASE WHEN reason = 'DEVICE_UNKNOWN' THEN '06:00:00:00:00:' || lpad(to_hex(d % 16), 2, '0') ELSE ${MAC('d')} END,
            CASE WHEN status = 'Issued' THEN ${MANIFEST_ID(`least((part * ${days * perDay})::int * ${devices} + d, ${manifests - 1})`)} END,
            ${START(size)} + part * interval '${days} days', CASE reason WHEN 'SNAPSHOT_MISSING' THEN 'download' ELSE 'request' END, status, reason,
            (8 + 30 * luck + CASE WHEN reason IS NULL THEN 200 + 900 * luck WHEN reason = 'CENTRAL_BUSY' THEN 30000 ELSE 0 END)::int, 'fill-' || n
     FROM generate_series(0, ${requests - 1}) AS n,
          LATERAL (SELECT n % ${devices} AS d, n / ${requests}.0 AS part, ${CHANCE("'request' || n")} AS luck) AS facts,
          LATERAL (SELECT CASE WHEN luck < 0.004 THEN 'CENTRAL_BUSY' WHEN luck < 0.006 THEN 'DATABASE_UNAVAILABLE' WHEN luck < 0.0065 THEN 'SNAPSHOT_MISSING'
                               WHEN luck < 0.010 THEN 'DEVICE_INACTIVE' WHEN luck < 0.013 THEN 'DEVICE_UNKNOWN' WHEN luck < 0.97 THEN 'unchanged' END AS reason) AS why,
          LATERAL (SELECT CASE WHEN luck < 0.0065 THEN 'Failed' WHEN luck < 0.013 THEN 'Refused' ELSE 'Issued' END AS status) AS outcome`,
    `INSERT INTO waypost.device_states
       (mac, first_seen_at, last_request_at, last_manifest_id, verified_manifest_id, verified_sequence, verified_epoch, verified_at,
        last_failure_at, last_error_code, last_error, consecutive_failures, filters)
     SELECT mac, ${START(size)}, now() - age, ${MANIFEST_ID('sequence')}, CASE WHEN proven THEN ${MANIFEST_ID('sequence')} END,
            CASE WHEN proven THEN sequence END, CASE WHEN proven THEN epoch END, CASE WHEN proven THEN now() - age END,
            CASE WHEN failures > 0 THEN now() - interval '2 min' END, CASE WHEN failures > 0 THEN 'LOCK_TIMEOUT' END,
            CASE WHEN failures > 0 THEN 'LOCK_TIMEOUT: users is locked' END, failures, document::jsonb -> 'filters'
     FROM waypost.manifests,
          LATERAL (SELECT ${CHANCE("'age' || mac")} AS luck) AS chance,
          LATERAL (SELECT luck < 0.985 AS proven, CASE WHEN luck > 0.94 THEN 1 + (luck * 1000)::int % 9 ELSE 0 END AS failures,
                          (20 + 300 * luck + CASE WHEN luck > 0.8 THEN 86400 * 40 * power((luck - 0.8) * 5, 4) ELSE 0 END) * interval '1 s' AS age) AS facts
     WHERE sequence >= ${manifests - devices}
     ON CONFLICT (mac) DO NOTHING`,
    'ANALYZE waypost.manifests, waypost.sync_manifests, waypost.sync_acknowledgements, waypost.sync_requests, waypost.device_states',
  ];
};

/**
 * Fills central's audit, which must be migrated and empty, with the history of a fleet: polls, new manifests, failures, devices that fell
 * silent. Times end now; all else is the same for the same size.
 */
export async function fillCentralAudit(client: pg.ClientBase, size: AuditSize): Promise<void> {
  for (const statement of STATEMENTS(size)) await client.query(statement);
}
