import { MAY_RECORD, RUNS_AS_OWNER } from './triggers.sql.js';

/** The triggers of ours that tables carry, and all that decides what those do. $1: oids of tables. */
export const READ_TRIGGERS = `
  SELECT t.tgrelid::int8::text AS oid, t.tgname::text AS name, t.tgenabled = 'A' AS "firesAlways", t.tgtype::int AS type,
         coalesce(t.tgoldtable, '')::text AS "oldTable", coalesce(t.tgnewtable, '')::text AS "newTable",
         NOT t.tgisinternal AND t.tgconstraint = 0 AND t.tgqual IS NULL AND t.tgnargs = 0 AND t.tgattr::text = '' AS "isUnconditional",
         n.nspname::text AS schema, p.proname::text AS function, p.prosrc AS body, p.oid::int8::text AS "functionOid",
         ${RUNS_AS_OWNER} AS "runsAsOwner", ${MAY_RECORD} AS "mayRecord", pg_get_userbyid(p.proowner)::text AS owner
  FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
  WHERE t.tgrelid = ANY($1::oid[]) AND t.tgname LIKE 'waypost\\_capture\\_%'`;

/**
 * Whether waypost.changes is the table that migrations make, so that what triggers write into it stays and is found: an ordinary table that survives a
 * crash, with the columns and defaults that are needed, and nothing that swallows or hides rows. One row if it exists.
 */
export const READ_CHANGES_TABLE = `
  SELECT c.oid::int8::text AS oid, c.relkind = 'r' AND NOT c.relispartition AS "isTable", c.relpersistence = 'p' AS "isLogged",
         NOT c.relrowsecurity AND NOT EXISTS (SELECT FROM pg_rewrite w WHERE w.ev_class = c.oid)
           AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid) AS "isPlain",
         (SELECT array_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid)) ORDER BY a.attname)
          FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
  FROM pg_class c WHERE c.oid = to_regclass('waypost.changes')`;
