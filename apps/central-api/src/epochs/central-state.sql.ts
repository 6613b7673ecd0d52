import { RANDOM_BYTES } from '../database/random-bytes.sql.js';

/**
 * Whether the epoch's row lies where central wrote it: a dump that was restored has it from another transaction. VACUUM, also FREEZE and FULL, and
 * CLUSTER keep a row's xmin; a copy by INSERT (pg_repack) does not, and starts a new epoch.
 */
const IS_ORIGINAL = `xmin::text = (SELECT value FROM waypost.central_state WHERE key = 'written_by')`;

/** A key of waypost.central_state: changes of transactions before this one may be pruned. */
export const PRUNED_BEFORE = 'changes_pruned_before';

/** The epoch, unless its row came here by a restore. A scalar. */
export const CURRENT_EPOCH = `(SELECT value FROM waypost.central_state WHERE key = 'epoch' AND ${IS_ORIGINAL})`;

/** The database that the epoch was started in. A scalar. */
export const CURRENT_CLUSTER = `(SELECT value FROM waypost.central_state WHERE key = 'cluster')`;

/** With the last sequence that was given out, and the key of the epoch's receipts, if it has one. */
export const READ_STATE = `
  SELECT state.*, (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM waypost.manifest_sequence)::float8 AS "lastSequence",
         (SELECT key FROM waypost.receipt_keys WHERE receipt_keys.epoch = state.epoch) AS "receiptKey"
  FROM (SELECT ${CURRENT_EPOCH} AS epoch, ${CURRENT_CLUSTER} AS cluster,
               EXISTS (SELECT FROM waypost.central_state WHERE key = 'epoch') AS "hadEpoch") AS state`;

/** What tells one database from another. PostgreSQL lets every role call them until someone revokes it. */
const IDENTIFYING = ['pg_control_system()', 'pg_current_wal_lsn()', 'pg_walfile_name(pg_lsn)'];

/**
 * System identifier, timeline and oid of the database; null on a standby, whose timeline may change under an open connection. The timeline is that of
 * the WAL being written: pg_control_checkpoint() still names the former one after a failover, until the first checkpoint ends.
 */
export const READ_CLUSTER = `
  SELECT CASE WHEN NOT pg_is_in_recovery() THEN
           (pg_control_system()).system_identifier || '/' || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int || '/' ||
           (SELECT oid FROM pg_database WHERE datname = current_database()) END AS cluster`;

/** Those functions that the role of the service, who owns waypost.changes, may not call. */
export const READ_FORBIDDEN_IDENTITY = `
  SELECT name, pg_get_userbyid(c.relowner)::text AS role FROM unnest(ARRAY[${IDENTIFYING.map((name) => `'pg_catalog.${name}'`).join(', ')}]) AS name, pg_class c
  WHERE c.oid = to_regclass('waypost.changes') AND NOT has_function_privilege(c.relowner, name, 'EXECUTE')`;

/** The key of receipts belongs to the epoch: those of earlier ones go. Transactions of
 * another database say nothing of what was pruned here. One transaction, without savepoints. $1: epoch, $2: cluster. */
export const WRITE_STATE = `
  WITH forgotten AS (DELETE FROM waypost.receipt_keys WHERE epoch <> $1), unpruned AS (
    DELETE FROM waypost.central_state WHERE key = '${PRUNED_BEFORE}'
  ), made AS (
    INSERT INTO waypost.receipt_keys (epoch, key) VALUES ($1, ${RANDOM_BYTES})
  )
  INSERT INTO waypost.central_state VALUES ('epoch', $1), ('cluster', $2), ('written_by', pg_current_xact_id()::xid::text)
  ON CONFLICT (key) DO UPDATE SET value = excluded.value`;
