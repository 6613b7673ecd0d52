import { MAX_DRIFTS_OF_ACK, MAX_KEY_CHARS, MAX_RECEIPTS_OF_ACK } from '@waypost/contracts';

/** One ack per manifest and outcome: a newer one replaces one that was not sent. $1: manifest, $2: status, $3: body, $4: receipt's id. */
export const QUEUE_ACK = `
  INSERT INTO waypost.edge_acks (manifest_id, status, body, receipt_id) VALUES ($1, $2, $3, $4)
  ON CONFLICT (manifest_id, status) DO UPDATE
  SET body = excluded.body, receipt_id = excluded.receipt_id, created_at = clock_timestamp(), attempts = 0, last_error = NULL, refused_at = NULL`;

/** The end of a key's chain. $1: key. */
export const LAST_RECEIPT = `
  SELECT sequence::float8 AS sequence, sha256 FROM waypost.edge_receipts WHERE key = $1 ORDER BY sequence DESC LIMIT 1`;

/** $1: key, $2: sequence, $3: SHA-256 of the body, $4: body, $5: signature. */
export const ADD_RECEIPT = `
  INSERT INTO waypost.edge_receipts (key, sequence, sha256, body, signature) VALUES ($1, $2, $3, $4, $5) RETURNING id::text`;

/** Receipts that central does not have: those of acks that a newer one replaced, or that central refused, travel with the next ack. */
const UNSENT = 'sent_at IS NULL AND refused_at IS NULL';

/** An ack must fit into what central reads, with what is beside the receipts. */
const MAX_RECEIPTS_CHARS = 256 << 10;

/** The newest of what is not sent up to an ack's own receipt, in their order; null without one. @param own its id */
const receiptsUpTo = (own: string): string => `(
  SELECT json_agg(json_build_object('body', r.body, 'signature', r.signature) ORDER BY r.id) FROM (
    SELECT id, body, signature, sum(length(body)) OVER (ORDER BY id DESC) AS chars, row_number() OVER (ORDER BY id DESC) AS at
    FROM waypost.edge_receipts WHERE id <= ${own} AND (id = ${own} OR (${UNSENT}))
  ) AS r WHERE r.at = 1 OR (r.at <= ${MAX_RECEIPTS_OF_ACK} AND r.chars <= ${MAX_RECEIPTS_CHARS}))`;

/** Central refuses the receipts of an ack. $1: manifest, $2: status. */
export const REFUSE_RECEIPTS = `
  UPDATE waypost.edge_receipts SET refused_at = clock_timestamp()
  WHERE ${UNSENT} AND id <= (SELECT receipt_id FROM waypost.edge_acks WHERE manifest_id = $1 AND status = $2)`;

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
    SELECT manifest_id AS "manifestId", status, body, created_at::text AS "createdAt", ${receiptsUpTo(`${list}.receipt_id`)} AS receipts FROM ${list} WHERE refused_at IS NULL ORDER BY created_at LIMIT 1
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
  ), receipts AS (
    UPDATE waypost.edge_receipts SET sent_at = clock_timestamp() WHERE ${UNSENT} AND id <= (
      SELECT receipt_id FROM waypost.edge_acks WHERE manifest_id = $1 AND status = $2 AND created_at = $3::timestamptz)
  ), sent AS (
    DELETE FROM waypost.edge_acks WHERE manifest_id = $1 AND status = $2 AND created_at = $3::timestamptz
  ), others AS (
    SELECT * FROM waypost.edge_acks WHERE NOT (manifest_id = $1 AND status = $2 AND created_at = $3::timestamptz)
  )
  SELECT waiting.*, set_config('synchronous_commit', 'off', true) FROM (${nextOf('others')}) AS waiting`;

export const NEXT_ACK = nextOf('waypost.edge_acks');

export const COUNT_ACKS = `
  SELECT count(*) FILTER (WHERE refused_at IS NULL) AS pending, count(refused_at) AS refused FROM waypost.edge_acks`;
