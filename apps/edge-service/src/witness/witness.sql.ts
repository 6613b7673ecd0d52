/** Receipts that an ack has brought to central, which the ledger was not yet seen to have. One whose absence an operator has explained is not looked up again. */
const UNCHECKED = `sent_at IS NOT NULL AND included_at IS NULL AND refused_at IS NULL
  AND NOT EXISTS (SELECT FROM waypost.edge_ledger_forks f WHERE f.receipt = sha256 AND f.resolved_at IS NOT NULL)`;

/** How many receipts one cycle checks: what is left is for the next ones. */
const MAX_CHECKS = 5;

/** Central appends within seconds. */
const OVERDUE = '10 minutes';

/** In a large fleet the ledger grows between any two polls: one that polls more often than this asks for a proof once in it. */
const PROOF_INTERVAL = '60 seconds';

/** After so long, and so many polls that central answered, a ledger that cannot be checked is a finding. The polls are for clocks that are set meanwhile. */
const WITHHELD_FOR = '10 minutes';
const WITHHELD_POLLS = 3;

/** All that the witness knows, in one statement: nulls before the first checkpoint. */
export const READ_WITNESS = `
  SELECT l.origin, l.keys, l.size::float8 AS size, l.root, l.note,
    l.seen_at BETWEEN clock_timestamp() - interval '${PROOF_INTERVAL}' AND clock_timestamp() AS "isRecent",
    EXISTS (SELECT FROM waypost.edge_ledger_withheld) AS "isWithheld",
    (SELECT coalesce(json_agg(r), '[]') FROM (
      SELECT id::text, sha256, body, signature, sent_at < now() - interval '${OVERDUE}' AS "isOverdue" FROM waypost.edge_receipts WHERE ${UNCHECKED} ORDER BY id LIMIT ${MAX_CHECKS}) AS r) AS receipts,
    (SELECT coalesce(json_agg(f), '[]') FROM (
      SELECT id::text, reason, seen, received, receipt, reported_at IS NOT NULL AS "isReported"
      FROM waypost.edge_ledger_forks WHERE resolved_at IS NULL ORDER BY id LIMIT 10) AS f) AS forks
  FROM (VALUES (1)) AS one LEFT JOIN waypost.edge_ledger l ON true`;

/** $1: origin, $2: keys, $3: size, $4: root, $5: note. */
export const STORE_CHECKPOINT = `
  INSERT INTO waypost.edge_ledger (origin, keys, size, root, note) VALUES ($1, $2, $3, $4, $5)
  ON CONFLICT (id) DO UPDATE SET
    origin = excluded.origin, keys = excluded.keys, size = excluded.size, root = excluded.root, note = excluded.note, seen_at = clock_timestamp()`;

/** $1: ids. */
export const MARK_INCLUDED = 'UPDATE waypost.edge_receipts SET included_at = clock_timestamp() WHERE id = ANY ($1::bigint[])';

/** Another poll at which the ledger could not be checked. */
export const NOTE_WITHHELD = `
  INSERT INTO waypost.edge_ledger_withheld AS w (id) VALUES (true) ON CONFLICT (id) DO UPDATE SET polls = w.polls + 1
  RETURNING since < clock_timestamp() - interval '${WITHHELD_FOR}' AND polls >= ${WITHHELD_POLLS} AS "isLong"`;

export const END_WITHHELD = 'DELETE FROM waypost.edge_ledger_withheld';

/**
 * One that is open is not stored again, however the other history grows; one for each receipt, and one for a ledger that is withheld. $1: reason, $2: seen,
 * $3: received, $4: receipt or null, $5: cycle.
 */
export const STORE_FORK = `
  INSERT INTO waypost.edge_ledger_forks (reason, seen, received, receipt, edge_sync_id) SELECT $1::text, $2::text, $3::text, $4::text, $5::text
  WHERE NOT EXISTS (
    SELECT FROM waypost.edge_ledger_forks WHERE resolved_at IS NULL AND receipt IS NOT DISTINCT FROM $4 AND (received = '') = ($3 = ''))`;

/** $1: id. */
export const MARK_REPORTED = 'UPDATE waypost.edge_ledger_forks SET reported_at = clock_timestamp() WHERE id = $1';
