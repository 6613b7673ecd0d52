import { LAZILY } from '../chunk-store/chunk-catalog.sql.js';
import { HAS_FINDING } from './findings.sql.js';

/** A read that was used within this time is not written to for being used again. */
const TOUCH_AFTER = "interval '10 minutes'";

const tableLock = (key: string): string => `hashtextextended('waypost table ' || ${key}, 0)`;

/**
 * Reads whose rows the query would give in the current transaction: they are visible to it, and so is no change to what they were read from that
 * they have not seen; none while it is known that changes were missed. $1: keys, $2: epoch, $3: fingerprint.
 */
export const FIND_FRESH = `
  SELECT r.key, r.sha256, r.format, r.used_at < now() - ${TOUCH_AFTER} AS "isIdle"
  FROM waypost.table_reads r
  WHERE r.key = ANY($1::text[]) AND r.epoch = $2 AND r.watch = $3 AND NOT ${HAS_FINDING}
    AND NOT EXISTS (SELECT FROM waypost.table_contents content WHERE content.sha256 = r.sha256 AND content.format = r.format AND content.unneeded)
    AND NOT EXISTS (SELECT FROM waypost.changes c WHERE c.relation = ANY(r.sources) AND c.xid >= pg_snapshot_xmin(r.seen)
                    AND NOT pg_visible_in_snapshot(c.xid, r.seen))`;

/** What tables were when they were read last. $1: keys. */
export const FIND_LAST = 'SELECT DISTINCT sha256, format FROM waypost.table_reads WHERE key = ANY($1::text[])';

/** The session that holds one may read the table. $1: keys. */
export const TRY_LOCK_TABLES = `SELECT key FROM (SELECT key, pg_try_advisory_lock(${tableLock('key')}) AS locked FROM unnest($1::text[]) AS key) AS tried WHERE locked`;

export const UNLOCK_TABLE = `SELECT pg_advisory_unlock(${tableLock('$1::text')})`;

/** Waits until the table is not being read, at most for lock_timeout. */
export const AWAIT_TABLE = `SELECT pg_advisory_lock_shared(${tableLock('$1::text')}), pg_advisory_unlock_shared(${tableLock('$1::text')})`;

/** Which tables were read after this snapshot was taken. $1: keys, $2: epoch, $3: fingerprint, $4: the snapshot. */
export const FIND_LATER = `
  SELECT key FROM waypost.table_reads
  WHERE key = ANY($1::text[]) AND epoch = $2 AND watch = $3 AND NOT pg_visible_in_snapshot(noted_by, $4::pg_snapshot)`;

/** $1: key, $2: epoch, $3: fingerprint, $4: hash, $5: format, $6: sources, $7: the snapshot that was read in. */
export const NOTE_READ = `
  INSERT INTO waypost.table_reads (key, epoch, watch, sha256, format, sources, seen)
  SELECT $1, $2, $3, $4, $5, $6::oid[], $7::pg_snapshot WHERE ${LAZILY}
  ON CONFLICT (key) DO UPDATE SET
    epoch = excluded.epoch, watch = excluded.watch, sha256 = excluded.sha256, format = excluded.format, sources = excluded.sources,
    seen = excluded.seen, noted_by = excluded.noted_by, built_at = excluded.built_at, used_at = excluded.used_at`;

/** The same rows were right in this snapshot, too: older changes need not be kept for them. $1: keys, $2: hashes, $3: the snapshot, $4: epoch, $5: fingerprint. */
export const TOUCH_READS = `
  UPDATE waypost.table_reads SET seen = $3::pg_snapshot, used_at = now()
  WHERE (key, sha256) IN (SELECT * FROM unnest($1::text[], $2::text[])) AND epoch = $4 AND watch = $5`;

/** Manifests with which devices failed, since their last success, in a way that may come from what was read. $1: MACs, $2: codes of such failures. */
export const READ_DOUBTS = `
  SELECT failed_manifest_id AS "manifestId" FROM waypost.device_states
  WHERE mac = ANY($1::text[]) AND failed_manifest_id IS NOT NULL AND last_error_code = ANY($2::text[])`;
