import { FIRST_UNCOUNTED } from './polls.sql.js';

/** A statement's work. */
export const MAX_BATCH = 2000;
const MAX_BATCH_CHARS = 8 << 20;

/** Writes receipts down for the ledger, as a part of the statement that stores their ack. `stored` is that ack's row. @param from number of the first parameter: device id, bodies, signatures */
export const queueReceipts = (from: number): string => `
  queued AS (
    INSERT INTO waypost.ledger_queue (kind, device_id, body, signature, ack_id)
    SELECT 'receipt', $${from}::text, r.body, r.signature, CASE WHEN r.at = cardinality($${from + 1}::text[]) THEN (SELECT id FROM stored) END
    FROM unnest($${from + 1}::text[], $${from + 2}::text[]) WITH ORDINALITY AS r(body, signature, at) ORDER BY r.at
  )`;

/** The row of an ack, as its SHA-256 covers it. @param a alias of waypost.sync_acknowledgements */
export const ackFacts = (a: string): string => `json_build_object(
  'id', ${a}.id, 'manifestId', ${a}.manifest_id, 'mac', ${a}.mac,
  'completedAt', to_char(${a}.completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
  'result', ${a}.result, 'reportedStatus', ${a}.reported_status, 'durationMs', ${a}.duration_ms,
  'localCounts', ${a}.device_counts_json, 'localChecksums', ${a}.device_hashes_json, 'error', ${a}.error_text, 'ackSha256', ${a}.ack_sha256)`;

/** Locks the tree for the transaction. No row where another process appends at this moment. */
export const LOCK_HEAD = 'SELECT frontier FROM waypost.ledger_head FOR UPDATE SKIP LOCKED';

/** What waits longest. A body is read once. */
export const READ_QUEUE = `
  SELECT q.id::text, q.kind, q.device_id AS "deviceId", q.body, q.signature, CASE WHEN a.id IS NOT NULL THEN ${ackFacts('a')} END AS ack
  FROM (
    SELECT *, sum(length(body)) OVER (ORDER BY id) - length(body) AS before FROM (SELECT * FROM waypost.ledger_queue ORDER BY id LIMIT ${MAX_BATCH}) AS first
  ) AS q
  LEFT JOIN waypost.sync_acknowledgements a ON a.id = q.ack_id
  WHERE q.before < ${MAX_BATCH_CHARS} ORDER BY q.id`;

/** Of these receipts, those that are in the ledger. $1: hashes. */
export const FIND_KNOWN = 'SELECT receipt_sha256 AS hash FROM waypost.ledger_entries WHERE receipt_sha256 = ANY ($1::bytea[])';

/** $1: keys. */
export const READ_CHAINS = `
  SELECT key, sequence::float8 AS sequence, encode(receipt_sha256, 'hex') AS "receiptSha256" FROM waypost.ledger_chains WHERE key = ANY ($1::text[])`;

/**
 * One batch: all of it, or nothing. $1…$5: entries (leaf, kind, device, receipt's hash; texts, a line each, which unlike an array need no escapes);
 * $6…$8: tiles (level, tile, hashes to add); $9: frontier; $10…$12: checkpoint (size, root, note); $13…$17: chains (key, device, sequence, hash,
 * finding); $18: rows of the queue.
 */
export const APPEND = `
  WITH entries AS (
    INSERT INTO waypost.ledger_entries (leaf, kind, device_id, receipt_sha256, entry)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], string_to_array($5, E'\\n'))
  ), tiles AS (
    INSERT INTO waypost.ledger_tiles AS t (level, tile, hashes) SELECT * FROM unnest($6::smallint[], $7::bigint[], $8::bytea[])
    ON CONFLICT (level, tile) DO UPDATE SET hashes = t.hashes || excluded.hashes
  ), head AS (
    UPDATE waypost.ledger_head SET frontier = $9
  ), checkpoint AS (
    INSERT INTO waypost.ledger_checkpoints (size, root, note) VALUES ($10, $11, $12)
  ), chains AS (
    INSERT INTO waypost.ledger_chains AS c (key, device_id, sequence, receipt_sha256, finding, found_at, findings)
    SELECT key, device_id, sequence, hash, finding, CASE WHEN finding IS NOT NULL THEN now() END, (finding IS NOT NULL)::int
    FROM unnest($13::text[], $14::text[], $15::bigint[], $16::bytea[], $17::text[]) AS n(key, device_id, sequence, hash, finding)
    ON CONFLICT (key) DO UPDATE SET
      sequence = excluded.sequence, receipt_sha256 = excluded.receipt_sha256, finding = coalesce(excluded.finding, c.finding),
      found_at = coalesce(excluded.found_at, c.found_at), findings = c.findings + excluded.findings
  )
  DELETE FROM waypost.ledger_queue WHERE id = ANY ($18::bigint[])`;

/** $1: rows that are in the ledger already. */
export const DROP_QUEUED = 'DELETE FROM waypost.ledger_queue WHERE id = ANY ($1::bigint[])';

export const NEWEST_CHECKPOINT = 'SELECT size::float8 AS size, root, note FROM waypost.ledger_checkpoints ORDER BY size DESC LIMIT 1';

/** What a central process looks at once a second. */
export const READ_LEDGER_STATE = `
  SELECT c.size, c.note, EXISTS (SELECT FROM waypost.ledger_queue) AS "hasQueue",
    (SELECT extract(epoch FROM now() - min(queued_at))::float8 FROM waypost.ledger_queue WHERE id = (SELECT min(id) FROM waypost.ledger_queue)) AS "queueAgeS",
    (SELECT count(*)::int FROM waypost.ledger_chains WHERE finding IS NOT NULL) AS "brokenChains",
    (SELECT count(*)::int FROM waypost.ledger_forks WHERE resolved_at IS NULL) AS forks,
    ${FIRST_UNCOUNTED} AS "hasPolls"
  FROM (VALUES (1)) AS one LEFT JOIN (${NEWEST_CHECKPOINT}) AS c ON true`;

/** Hashes that stand beside each other in a tile. $1…$4, one element for each: level, tile, first, number. Null where the tree has no such tile. */
export const READ_HASHES = `
  SELECT substring(t.hashes FROM n.first * 32 + 1 FOR n.width * 32) AS hashes
  FROM unnest($1::smallint[], $2::bigint[], $3::int[], $4::int[]) WITH ORDINALITY AS n(level, tile, first, width, at)
  LEFT JOIN waypost.ledger_tiles t ON t.level = n.level AND t.tile = n.tile ORDER BY n.at`;

/** $1: receipt's hash, $2: device. */
export const FIND_RECEIPT = `
  SELECT leaf::float8 AS index, entry FROM waypost.ledger_entries WHERE receipt_sha256 = $1 AND device_id = $2`;

/** $1: leaf, $2: device. */
export const FIND_LEAF = `SELECT leaf::float8 AS index, entry FROM waypost.ledger_entries WHERE leaf = $1 AND device_id = $2`;

/** Keys that devices have or had, with which receipts may be signed. $1: thumbprints. */
export const FIND_RECEIPT_KEYS = `
  SELECT thumbprint, public_key AS "publicKey", device_id AS "deviceId" FROM waypost.device_keys
  WHERE thumbprint = ANY ($1::text[]) AND approved_at IS NOT NULL`;

/** What one device may report that no operator has resolved. */
const MAX_FORKS_OF_DEVICE = 20;

/**
 * $1: device, $2: reason, $3: seen, $4: received, $5: whether both are signed, $6: SHA-256 of both and of the receipt. Gives a row where it is new, or was
 * resolved before: a device reports each of its findings once.
 */
export const STORE_FORK = `
  INSERT INTO waypost.ledger_forks AS f (device_id, reason, seen, received, is_signed, digest)
  SELECT $1::text, $2::text, $3::text, $4::text, $5::boolean, $6::bytea
  WHERE (SELECT count(*) FROM waypost.ledger_forks WHERE device_id = $1 AND resolved_at IS NULL) < ${MAX_FORKS_OF_DEVICE}
  ON CONFLICT (device_id, digest) DO UPDATE SET reported_at = now(), reason = excluded.reason, resolved_at = NULL WHERE f.resolved_at IS NOT NULL
  RETURNING id`;
