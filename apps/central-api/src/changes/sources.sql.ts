/**
 * All that a view reads, views within views and partitions included; and what those are partitions of: a statement that names the parent fires only
 * the parent's triggers. $1: its name.
 */
export const READ_RELATIONS = `
  WITH RECURSIVE reads(oid) AS (
    SELECT $1::regclass::oid
    UNION
    SELECT part.oid FROM reads JOIN pg_class c ON c.oid = reads.oid,
    LATERAL (
      SELECT d.refobjid FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
      WHERE c.relkind = 'v' AND w.ev_class = c.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> c.oid
      UNION ALL SELECT h.inhrelid FROM pg_inherits h WHERE h.inhparent = c.oid
    ) AS part(oid)
  ), named(oid) AS (
    SELECT oid FROM reads
    UNION
    SELECT h.inhparent FROM named JOIN pg_inherits h ON h.inhrelid = named.oid
  )
  SELECT c.oid::int8::text AS oid, c.oid::regclass::text AS name, c.relkind AS kind, n.nspname AS schema,
         EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid) AS "isSubscribed"
  FROM named JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid <> $1::regclass
  ORDER BY c.oid`;

/**
 * Functions that a view and the views within it call, as far as their result may depend on more than their arguments and the pinned session:
 * not immutable, and not a stable one of PostgreSQL's own that only converts or formats. The rule's stored tree names what pg_depend leaves out,
 * the functions of PostgreSQL itself. $1: the view, $2: oids of the views within it.
 */
export const READ_UNSTEADY = `
  WITH trees AS (SELECT ev_action::text AS tree FROM pg_rewrite WHERE ev_class = $1::regclass OR ev_class = ANY($2::oid[])),
  called AS (
    SELECT DISTINCT found[1]::oid AS oid
    FROM trees, regexp_matches(tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid|eqop|eqfuncid) (\\d+)', 'g') AS found
  )
  SELECT p.oid::regprocedure::text || '()' AS what
  FROM called JOIN pg_proc p USING (oid) JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE p.provolatile <> 'i' AND NOT (
    p.provolatile = 's' AND n.nspname = 'pg_catalog'
    AND p.proname !~ '^(now|transaction_timestamp|statement_timestamp|age|current_setting|pg_|txid_|has_|to_reg|row_security_active|inet_|query_to_|table_to_|cursor_to_|schema_to_|database_to_|.*_description)'
  )
  UNION ALL SELECT 'CURRENT_TIMESTAMP, CURRENT_USER or the like' FROM trees WHERE tree ~ '\\{SQLVALUEFUNCTION ' HAVING count(*) > 0
  UNION ALL SELECT 'TABLESAMPLE' FROM trees WHERE tree ~ '\\{TABLESAMPLECLAUSE ' HAVING count(*) > 0
  ORDER BY 1`;

/** Functions that are not PostgreSQL's own and that a view, or a view within it, calls. $1: the view, $2: oids of the views within it. */
export const READ_FUNCTIONS = `
  SELECT DISTINCT found[1] AS oid
  FROM pg_rewrite, regexp_matches(ev_action::text, ':(?:funcid|opfuncid|aggfnoid|winfnoid|eqop|eqfuncid) (\\d+)', 'g') AS found
  WHERE (ev_class = $1::regclass OR ev_class = ANY($2::oid[])) AND found[1]::int8 >= 16384`;

/**
 * Whatever may change what queries say without any row being changed: definitions of tables, columns, types, views, partitions, policies, and our
 * own triggers; functions, and subscriptions, which fire no statement triggers. Names of versions (xmin) stand for contents. $1: relations, $2: functions.
 */
export const FINGERPRINT_CATALOG = `
  WITH types AS (
    SELECT DISTINCT t.oid, t.typelem, t.typbasetype, t.typrelid, t.xmin FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = ANY($1::oid[]) AND a.attnum > 0
  ), facts(fact) AS (
    SELECT format('class %s %s %s', oid, xmin, relfilenode) FROM pg_class WHERE oid = ANY($1::oid[])
    UNION ALL SELECT format('column %s %s %s', attrelid, attnum, xmin) FROM pg_attribute WHERE attrelid = ANY($1::oid[]) AND attnum > 0
    UNION ALL SELECT format('rule %s %s', oid, xmin) FROM pg_rewrite WHERE ev_class = ANY($1::oid[])
    UNION ALL SELECT format('child %s %s %s', inhparent, inhrelid, xmin) FROM pg_inherits WHERE inhparent = ANY($1::oid[]) OR inhrelid = ANY($1::oid[])
    UNION ALL SELECT format('policy %s %s', oid, xmin) FROM pg_policy WHERE polrelid = ANY($1::oid[])
    UNION ALL SELECT format('trigger %s %s', oid, xmin) FROM pg_trigger
              WHERE tgrelid = ANY($1::oid[]) AND (tgname LIKE 'waypost\\_capture\\_%' OR tgrelid = to_regclass('waypost.changes'))
    UNION ALL SELECT format('default %s %s', oid, xmin) FROM pg_attrdef WHERE adrelid = ANY($1::oid[])
    UNION ALL SELECT format('function %s %s', oid, xmin) FROM pg_proc WHERE oid = ANY($2::oid[])
    UNION ALL SELECT format('subscription %s %s', srsubid, srrelid) FROM pg_subscription_rel WHERE srrelid = ANY($1::oid[])
    UNION ALL SELECT format('type %s %s', oid, xmin) FROM types
    UNION ALL SELECT format('label %s %s', e.oid, e.xmin) FROM pg_enum e WHERE e.enumtypid IN (SELECT unnest(ARRAY[oid, typelem, typbasetype]) FROM types)
    UNION ALL SELECT format('attribute %s %s %s', a.attrelid, a.attnum, a.xmin) FROM pg_attribute a
              WHERE a.attrelid IN (SELECT typrelid FROM types WHERE typrelid <> 0) AND a.attnum > 0
  )
  SELECT md5(string_agg(fact, ',' ORDER BY fact)) AS fingerprint FROM facts`;
