import { queueReceipts } from '../ledger/ledger.sql.js';

const ACK_COLUMNS =
  'manifest_id, mac, completed_at, result, reported_status, duration_ms, device_counts_json, device_hashes_json, error_text, ack_sha256';
const ACK_VALUES = '$1, $2, now(), $3, $4, $5::bigint, $6::jsonb, $7::jsonb, $8, $9';

/** What a loop of failures, forged or real, may add to the audit; more of them only count in the metrics. */
const MAX_FAILURES_PER_HOUR = 20;

/**
 * A success counts whenever it comes, also one that is stored already: after a failure, the device has verified the manifest again. One for an
 * older manifest than is verified does not. Gives the id, if the row is new, and the key of receipts of the manifest's epoch, if that is in force.
 * $1…$9: the acknowledgement's row, $10: the manifest's sequence, $11: its epoch, $12…$14: as queueReceipts.
 */
export const ACK_SUCCESS = `
  WITH stored AS (
    INSERT INTO waypost.sync_acknowledgements (${ACK_COLUMNS}) VALUES (${ACK_VALUES}) ON CONFLICT DO NOTHING RETURNING id
  ), state AS (
    UPDATE waypost.device_states SET
      verified_manifest_id = $1, verified_sequence = $10, verified_epoch = $11, verified_at = now(),
      failed_manifest_id = NULL, consecutive_failures = 0
    WHERE mac = $2 AND (verified_epoch IS DISTINCT FROM $11 OR verified_sequence <= $10)
  ), ${queueReceipts(12)}
  SELECT (SELECT id FROM stored) AS id, (SELECT key FROM waypost.receipt_keys WHERE epoch = $11) AS key`;

/**
 * A repeated one is the same failure. Of one manifest only so many are stored in an hour. Gives the id, if it was stored, and whether it is there
 * already. $1…$9: the acknowledgement's row, $10: the failure's code, $11…$13: as queueReceipts.
 */
export const ACK_FAILURE = `
  WITH stored AS (
    INSERT INTO waypost.sync_acknowledgements (${ACK_COLUMNS}) SELECT ${ACK_VALUES}
    WHERE (SELECT count(*) FROM waypost.sync_acknowledgements
           WHERE manifest_id = $1 AND result = 'Failed' AND completed_at > now() - interval '1 hour') < ${MAX_FAILURES_PER_HOUR}
    ON CONFLICT DO NOTHING RETURNING id
  ), state AS (
    UPDATE waypost.device_states SET
      failed_manifest_id = $1, last_failure_at = now(), last_error_code = $10, last_error = left($8, 1000),
      consecutive_failures = consecutive_failures + 1
    WHERE mac = $2 AND EXISTS (SELECT FROM stored)
  ), ${queueReceipts(11)}
  SELECT (SELECT id FROM stored) AS id,
         EXISTS (SELECT FROM waypost.sync_acknowledgements WHERE manifest_id = $1 AND mac = $2 AND ack_sha256 = $9) AS "isKnown"`;

/** What a device, or whatever names itself so, may add to the reports. */
const MAX_DRIFTS_PER_HOUR = 200;

/**
 * Each once, however often it is reported, and of one device only so many an hour. $1: MAC, $2: manifest, $3: tables, $4: chunks, $5, $6: keys, $7: when.
 * Gives the chunks of those that are new.
 */
export const STORE_DRIFTS = `
  WITH stored AS (
    INSERT INTO waypost.drift_reports (mac, manifest_id, table_name, chunks, first_key, last_key, found_at)
    SELECT $1, $2, * FROM unnest($3::text[], $4::int[], $5::text[], $6::text[], $7::timestamptz[])
    LIMIT (SELECT greatest(${MAX_DRIFTS_PER_HOUR} - count(*), 0) FROM waypost.drift_reports WHERE mac = $1 AND reported_at > now() - interval '1 hour')
    ON CONFLICT DO NOTHING RETURNING chunks
  )
  SELECT coalesce(sum(chunks), 0)::float8 AS chunks FROM stored`;
