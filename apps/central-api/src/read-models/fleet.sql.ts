import { IS_HELD_BACK } from '../metrics/fleet.sql.js';

const REQUESTS_SHOWN = 5;

/** Central's own state, as one row. */
export const READ_CENTRAL = `
  SELECT (SELECT value FROM waypost.central_state WHERE key = 'epoch') AS epoch,
         (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM waypost.manifest_sequence)::int8 AS sequence,
         (SELECT count(*)::int FROM waypost.manifests WHERE expires_at > now()) AS live_manifests,
         (SELECT count(DISTINCT mac)::int FROM waypost.held_shrinks WHERE ${IS_HELD_BACK}) AS held_devices,
         (SELECT coalesce(array_agg(table_name ORDER BY table_name), '{}') FROM waypost.shadow_findings WHERE cleared_at IS NULL) AS uncaptured,
         (SELECT count(DISTINCT k.device_id)::int FROM waypost.device_keys k WHERE k.cloned_at IS NOT NULL AND k.retired_at IS NULL) AS cloned_devices,
         (SELECT max(last_request_at) FROM waypost.device_status) AS last_request_at,
         now() AS now`;

export const LAST_REQUESTS = `
  SELECT requested_at, mac, operation, status, reason, manifest_id, duration_ms
  FROM waypost.sync_requests ORDER BY requested_at DESC, id DESC LIMIT ${REQUESTS_SHOWN}`;

/** What central refused or could not do within the last hour, the most frequent first. */
export const TROUBLES = `
  SELECT status, reason, count(*)::int AS requests, count(DISTINCT mac)::int AS devices
  FROM waypost.sync_requests WHERE requested_at > now() - interval '1 hour' AND status <> 'Issued'
  GROUP BY status, reason ORDER BY requests DESC LIMIT 10`;

/** Why devices fail, the most frequent first. */
export const ERRORS = `
  SELECT last_error_code AS code, count(*)::int AS devices
  FROM waypost.device_status WHERE consecutive_failures > 0 AND last_error_code IS NOT NULL
  GROUP BY last_error_code ORDER BY devices DESC LIMIT 10`;
