import { MAX_DRIFTS_OF_ACK, MAX_KEY_CHARS } from '@waypost/contracts';

/** One ack per manifest and outcome: a newer one replaces one that was not sent. $1: manifest, $2: status, $3: body. */
export const QUEUE_ACK = `
  INSERT INTO waypost.edge_acks (manifest_id, status, body) VALUES ($1, $2, $3)
  ON CONFLICT (manifest_id, status) DO UPDATE
  SET body = excluded.body, created_at = clock_timestamp(), attempts = 0, last_error = NULL, refused_at = NULL`;

/** An ack tells the first ones: those that it has told are the first ones still, whatever was found since. */
const TOLD_ORDER = 'found_at, table_name, first_key, last_key';

/** What the next ack tells central. */
export const UNREPORTED_DRIFTS = `
  SELECT table_name AS table, chunks, left(first_key, ${MAX_KEY_CHARS}) AS "firstKey", left(last_key, ${MAX_KEY_CHARS}) AS "lastKey", found_at AS "foundAt"
  FROM waypost.edge_drifts WHERE reported_at IS NULL ORDER BY ${TOLD_ORDER} LIMIT ${MAX_DRIFTS_OF_ACK}`;

/** How many acks of a list wait or were refused, and the one that is sent next, if any. created_at as text: a JS Date would lose its microseconds. */
const nextOf = (list: string): string => `
  SELECT counts.pending, counts.refused, next.*
  FROM (SELECT count(*) FILTER (WHERE refused_at IS NULL) AS pending, count(refused_at) AS refused FROM ${list}) AS counts
  LEFT JOIN (
    SELECT manifest_id AS "manifestId", status, body, created_at::text AS "createdAt" FROM ${list} WHERE refused_at IS NULL ORDER BY created_at LIMIT 1
  ) AS next ON true`;

/**
 * Removes an ack that central has, and keeps the receipt for the manifest that the device holds. $1: manifest, $2: status, $3: created_at as it was read:
 * a newer one stays, $4: the receipt or null. Then what waits besides, as NEXT_ACK.
 *
 * It does not wait for the disk: an ack that a power failure brings back is sent once more.
 */
export const DELETE_SENT = `
  WITH stored AS (
    INSERT INTO waypost.edge_sync_state (key, value)
    SELECT 'receipt', $1 || ' ' || $4::text FROM waypost.edge_sync_state WHERE key = 'manifest_id' AND value = $1 AND $4 IS NOT NULL
    ON CONFLICT (key) DO UPDATE SET value = excluded.value
  ), reported AS (
    UPDATE waypost.edge_drifts SET reported_at = clock_timestamp() WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM waypost.edge_drifts WHERE reported_at IS NULL AND found_at < $3::timestamptz ORDER BY ${TOLD_ORDER} LIMIT (
        SELECT coalesce(jsonb_array_length(body::jsonb -> 'drifts'), 0) FROM waypost.edge_acks
        WHERE manifest_id = $1 AND status = $2 AND created_at = $3::timestamptz)))
  ), sent AS (
    DELETE FROM waypost.edge_acks WHERE manifest_id = $1 AND status = $2 AND created_at = $3::timestamptz
  ), others AS (
    SELECT * FROM waypost.edge_acks WHERE NOT (manifest_id = $1 AND status = $2 AND created_at = $3::timestamptz)
  )
  SELECT waiting.*, set_config('synchronous_commit', 'off', true) FROM (${nextOf('others')}) AS waiting`;

export const NEXT_ACK = nextOf('waypost.edge_acks');

export const COUNT_ACKS = `
  SELECT count(*) FILTER (WHERE refused_at IS NULL) AS pending, count(refused_at) AS refused FROM waypost.edge_acks`;
