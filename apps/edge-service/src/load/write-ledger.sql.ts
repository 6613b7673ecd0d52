/**
 * What this backend has written to each table of the database, by table oid: [inserted, updated, deleted, name]. Schema waypost's own, the system's and
 * temporary tables are left out. PostgreSQL counts per backend, at once and without a snapshot; what it has not yet reported of earlier transactions
 * is in the numbers, so that only differences say something.
 */
const COUNTS = `
  SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, pg_stat_get_xact_tuples_inserted(c.oid) AS inserted,
         pg_stat_get_xact_tuples_updated(c.oid) AS updated, pg_stat_get_xact_tuples_deleted(c.oid) AS deleted
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'waypost')`;

export const COUNT_WRITES = `
  SELECT coalesce(json_object_agg(oid, json_build_array(inserted, updated, deleted, name)), '{}')::text AS counts,
         current_setting('track_counts') = 'on' AS tracked
  FROM (${COUNTS}) AS counted`;

/** Only a superuser may, or a role that was granted SET on the parameter. */
export const TRACK_COUNTS = "SELECT set_config('track_counts', 'on', true)";

/**
 * What was written since COUNT_WRITES, by table: partitions count for their root. `locked`: a table that was there before is locked against readers by
 * this transaction, as TRUNCATE, DROP and ALTER TABLE do, and rows are not counted there. $1: the counts.
 */
export const FIND_WRITES = `
  WITH before AS (
    SELECT key::oid AS oid, (value->>0)::int8 AS inserted, (value->>1)::int8 AS updated, (value->>2)::int8 AS deleted, value->>3 AS name FROM json_each($1)
  ), now AS (${COUNTS}), locks AS (
    SELECT DISTINCT relation AS oid FROM pg_locks
    WHERE pid = pg_backend_pid() AND locktype = 'relation' AND mode = 'AccessExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  ), written AS (
    SELECT coalesce(now.oid, before.oid) AS oid, coalesce(now.name, before.name) AS name,
           coalesce(now.inserted, 0) - coalesce(before.inserted, 0) AS inserted, coalesce(now.updated, 0) - coalesce(before.updated, 0) AS updated,
           coalesce(now.deleted, 0) - coalesce(before.deleted, 0) AS deleted,
           before.oid IS NOT NULL AND (now.oid IS NULL OR EXISTS (SELECT FROM locks WHERE locks.oid = before.oid)) AS locked
    FROM now FULL JOIN before ON now.oid = before.oid
    WHERE now.oid IS NOT NULL OR EXISTS (SELECT FROM locks WHERE locks.oid = before.oid)
  ), roots AS (
    SELECT coalesce(pg_partition_root(oid), oid) AS root, written.*
    FROM written WHERE locked OR inserted <> 0 OR updated <> 0 OR deleted <> 0
  )
  SELECT root::int8, CASE WHEN root = min(oid) THEN min(name) ELSE (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n
           ON n.oid = c.relnamespace WHERE c.oid = root) END AS name,
         sum(inserted)::int8 AS inserted, sum(updated)::int8 AS updated, sum(deleted)::int8 AS deleted, bool_or(locked) AS locked
  FROM roots GROUP BY root ORDER BY 2`;

/** The tables $1, and their partitions. */
const MEMBERS = `
  WITH RECURSIVE members AS (
    SELECT oid FROM unnest($1::oid[]) AS w(oid)
    UNION SELECT h.inhrelid FROM members m JOIN pg_inherits h ON h.inhparent = m.oid JOIN pg_class c ON c.oid = h.inhrelid AND c.relispartition
  )`;

/**
 * What can have made a write to a table follow from writes to others, in words. $1: the tables that were written to, $2: the table, if it is to be one
 * whose foreign keys count, too.
 */
export const FIND_CAUSES = `${MEMBERS}
  SELECT format('trigger %I on %s', t.tgname, coalesce(pg_partition_root(t.tgrelid), t.tgrelid)::regclass) AS cause
  FROM pg_trigger t WHERE t.tgrelid IN (SELECT oid FROM members) AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
  UNION
  SELECT format('foreign key %I of %s', k.conname, k.conrelid::regclass) FROM pg_constraint k
  WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid IN (SELECT oid FROM members) AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
    AND ($2::oid IS NULL OR coalesce(pg_partition_root(k.conrelid), k.conrelid) = $2::oid)
  UNION
  SELECT format('rule %I on %s', r.rulename, r.ev_class::regclass) FROM pg_rewrite r
  WHERE r.ev_class IN (SELECT oid FROM members) AND r.ev_type <> '1' AND r.ev_enabled IN ('O', 'A')
  ORDER BY 1`;

/** Enabled BEFORE ROW triggers: they may alter a row, or have it left out. $1: the tables; partitions count for their root. */
export const FIND_ROW_TRIGGERS = `${MEMBERS}
  SELECT DISTINCT coalesce(pg_partition_root(t.tgrelid), t.tgrelid)::regclass::text AS "table", t.tgname::text AS trigger
  FROM pg_trigger t WHERE t.tgrelid IN (SELECT oid FROM members) AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
    AND t.tgtype::int & 3 = 3 -- FOR EACH ROW, BEFORE
  ORDER BY 1, 2`;
