/**
 * What each device holds: the manifest that it names, if that is one of its own, else the one that it last proved to hold, of whatever epoch.
 * $1: MACs, $2: the manifests that they name.
 */
export const READ_HELD = `
  SELECT asked.mac, held.document
  FROM unnest($1::text[], $2::text[]) AS asked(mac, named_id)
  LEFT JOIN waypost.device_states AS device ON device.mac = asked.mac
  CROSS JOIN LATERAL (
    SELECT m.document FROM waypost.manifests m
    WHERE m.mac = asked.mac AND m.manifest_id IN (asked.named_id, device.verified_manifest_id)
    ORDER BY m.manifest_id = asked.named_id DESC LIMIT 1
  ) AS held`;

/** A release that came in between stays, unless even more is gone than it allows. $1: a JSON array. */
export const HOLD_SHRINKS = `
  INSERT INTO waypost.held_shrinks AS held (mac, table_name, base_manifest_id, rows_before, rows_now)
  SELECT mac, "table", "baseId", "rowsBefore", "rowsNow"
  FROM json_to_recordset($1) AS t(mac text, "table" text, "baseId" text, "rowsBefore" bigint, "rowsNow" bigint)
  ORDER BY mac, "table"
  ON CONFLICT (mac, table_name) DO UPDATE SET
    base_manifest_id = excluded.base_manifest_id, rows_before = excluded.rows_before, rows_now = excluded.rows_now,
    first_held_at = CASE WHEN held.closed_at IS NULL AND held.released_at IS NULL THEN held.first_held_at ELSE excluded.first_held_at END,
    last_held_at = excluded.last_held_at, released_at = NULL, released_by = NULL, closed_at = NULL
  WHERE held.released_at IS NULL OR held.base_manifest_id <> excluded.base_manifest_id OR excluded.rows_now < held.rows_now`;

/** $1: MACs. */
export const CLOSE_SHRINKS = 'UPDATE waypost.held_shrinks SET closed_at = now() WHERE mac = ANY($1::text[]) AND closed_at IS NULL';
