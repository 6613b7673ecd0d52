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
  SELECT c.oid::int8::text AS oid, c.oid::regclass::text AS name, c.relkind AS kind, c.relpersistence AS persistence, n.nspname AS schema,
         EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid) AS "isSubscribed"
  FROM named JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid <> $1::regclass
  ORDER BY c.oid`;

/** Oids of date, time, timestamp, timestamptz, timetz, and of their arrays. */
const DATES_AND_TIMES = '1082|1083|1114|1184|1266|1182|1183|1115|1185|1270';

/**
 * Functions that a view and the views within it call, as far as their result may depend on more than their arguments and the pinned session:
 * not immutable, and not a stable one of PostgreSQL's own that only converts or formats; those that go by a text search configuration, too. The rule's
 * stored tree names what pg_depend leaves out, the functions of PostgreSQL itself. $1: the view, $2: oids of the views within it.
 */
export const READ_VOLATILE = `
  WITH trees AS (SELECT ev_action::text AS tree FROM pg_rewrite WHERE ev_class = $1::regclass OR ev_class = ANY($2::oid[])),
  called AS (
    SELECT DISTINCT found[1]::oid AS oid
    FROM trees, regexp_matches(tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid|eqop|eqfuncid) (\\d+)', 'g') AS found
  ), searching AS (
    SELECT oid FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^(to_tsvector|(|plainto_|phraseto_|websearch_)to_tsquery|ts_headline|ts_lexize|ts_parse)$'
  )
  SELECT p.oid::regprocedure::text AS what
  FROM called JOIN pg_proc p USING (oid) JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE p.oid IN (SELECT oid FROM searching) OR p.provolatile <> 'i' AND NOT (
    p.provolatile = 's' AND n.nspname = 'pg_catalog'
    AND p.proname !~ '^(now|transaction_timestamp|statement_timestamp|age|current_setting|pg_|txid_|has_|to_reg|row_security_active|inet_|query_to_|table_to_|cursor_to_|schema_to_|database_to_|.*_description)'
  )
  UNION ALL SELECT 'a text as a date or time: it may say now or today' FROM trees WHERE tree ~ '\\{COERCEVIAIO .*?:resulttype (${DATES_AND_TIMES}) ' HAVING count(*) > 0
  UNION ALL SELECT 'CURRENT_TIMESTAMP, CURRENT_USER or the like' FROM trees WHERE tree ~ '\\{SQLVALUEFUNCTION ' HAVING count(*) > 0
  UNION ALL SELECT 'TABLESAMPLE' FROM trees WHERE tree ~ '\\{TABLESAMPLECLAUSE ' HAVING count(*) > 0
  ORDER BY 1`;

/** Functions that are not PostgreSQL's own and that a view, or a view within it, calls. $1: the view, $2: oids of the views within it. */
export const READ_FUNCTIONS = `
  SELECT DISTINCT found[1] AS oid
  FROM pg_rewrite, regexp_matches(ev_action::text, ':(?:funcid|opfuncid|aggfnoid|winfnoid|eqop|eqfuncid) (\\d+)', 'g') AS found
  WHERE (ev_class = $1::regclass OR ev_class = ANY($2::oid[])) AND found[1]::int8 >= 16384`;

/** A view as SQL, in which constants stand that PostgreSQL made of literals. $1: the view. */
export const READ_DEFINITION = 'SELECT pg_get_viewdef($1::regclass) AS text';

/**
 * The types of the relations' columns, and all that those are made of: elements, base types, attributes, ranges. Their values are printed by definitions
 * that may be altered (an enum's label within a composite within an array). $1: relations.
 */
export const READ_TYPES = `
  WITH RECURSIVE types(oid) AS (
    SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = ANY($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT part.oid FROM types JOIN pg_type t USING (oid), LATERAL (
      SELECT t.typelem UNION ALL SELECT t.typbasetype
      UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid OR r.rngmultitypid = t.oid
    ) AS part(oid) WHERE part.oid <> 0
  )
  SELECT oid::int8::text AS oid FROM types WHERE oid >= 16384`;

const FOREIGN_EXTENSIONS = "extname IN ('pglogical', 'bdr', 'spock')";
/** PostgreSQL names the origins of its own subscriptions `pg_<oid>`, and `pg_<oid>_<oid>` while a table is copied. */
const FOREIGN_ORIGINS = "roname !~ '^pg_[0-9]+(_[0-9]+)?$'";

/** Appliers of other replication systems, which write rows without firing statement triggers. */
export const READ_FOREIGN_APPLIERS = `
  SELECT format('the extension %s', extname) AS name FROM pg_extension WHERE ${FOREIGN_EXTENSIONS}
  UNION ALL SELECT format('the replication origin %s', roname) FROM pg_replication_origin WHERE ${FOREIGN_ORIGINS}
  ORDER BY 1`;

/**
 * All versions of what is not PostgreSQL's own, in a number: the plan names functions and operators, and which ones are meant is told by all that bear the
 * name and by all casts; functions call others.
 */
const allOf = (catalog: string): string =>
  `SELECT format('${catalog} %s %s', count(*), sum(hashint8extended(xmin::text::int8, oid::int8))) FROM ${catalog} WHERE oid >= 16384`;

/**
 * Whatever may change what queries say without any row being changed: definitions of tables, primary keys, columns, types, views, partitions, policies, schemas, and our
 * own triggers; functions, operators and casts, and subscriptions and other appliers, which fire no statement triggers. Names of versions (xmin) stand for
 * contents, but for indexes, which manifests describe: hints and rebuilding change their rows, too.
 * $1: relations, $2: functions, $3: types.
 */
export const FINGERPRINT_CATALOG = `
  WITH classes AS (SELECT oid, xmin, relfilenode, relnamespace FROM pg_class WHERE oid = ANY($1::oid[])),
  procedures AS (SELECT pronamespace FROM pg_proc WHERE oid = ANY($2::oid[])),
  types AS (SELECT oid, xmin, typrelid, typnamespace FROM pg_type WHERE oid = ANY($3::oid[])),
  facts(fact) AS (
    SELECT format('class %s %s %s', oid, xmin, relfilenode) FROM classes
    UNION ALL SELECT format('column %s %s %s', attrelid, attnum, xmin) FROM pg_attribute
              WHERE attrelid IN (SELECT unnest($1::oid[]) UNION SELECT typrelid FROM types WHERE typrelid <> 0) AND attnum > 0
    UNION ALL SELECT format('rule %s %s', oid, xmin) FROM pg_rewrite WHERE ev_class = ANY($1::oid[])
    UNION ALL SELECT format('child %s %s %s', inhparent, inhrelid, xmin) FROM pg_inherits WHERE inhparent = ANY($1::oid[]) OR inhrelid = ANY($1::oid[])
    UNION ALL SELECT format('policy %s %s', oid, xmin) FROM pg_policy WHERE polrelid = ANY($1::oid[])
    UNION ALL SELECT format('trigger %s %s', oid, xmin) FROM pg_trigger
              WHERE tgrelid = ANY($1::oid[]) AND (tgname LIKE 'waypost\\_capture\\_%' OR tgrelid = to_regclass('waypost.changes'))
    UNION ALL SELECT format('key %s %s', indrelid, indexrelid) FROM pg_index WHERE indrelid = ANY($1::oid[]) AND indisprimary
    UNION ALL SELECT format('index %s %s %s %s %s %s %s %s %s %s', indrelid, relname, relam, indkey, indclass, indcollation, indoption, indnkeyatts, indexprs, indpred)
              FROM pg_index JOIN pg_class i ON i.oid = indexrelid WHERE indrelid = ANY($1::oid[]) AND indisvalid AND indisready
    UNION ALL SELECT format('default %s %s', oid, xmin) FROM pg_attrdef WHERE adrelid = ANY($1::oid[])
    UNION ALL ${allOf('pg_proc')} UNION ALL ${allOf('pg_operator')} UNION ALL ${allOf('pg_cast')}
    UNION ALL SELECT format('subscription %s %s', srsubid, srrelid) FROM pg_subscription_rel WHERE srrelid = ANY($1::oid[])
    UNION ALL SELECT format('type %s %s', oid, xmin) FROM types
    UNION ALL SELECT format('label %s %s', oid, xmin) FROM pg_enum WHERE enumtypid = ANY($3::oid[])
    UNION ALL SELECT format('schema %s %s %s', oid, xmin, nspname) FROM pg_namespace
              WHERE oid IN (SELECT relnamespace FROM classes UNION SELECT pronamespace FROM procedures UNION SELECT typnamespace FROM types)
    UNION ALL SELECT format('extension %s', extname) FROM pg_extension WHERE ${FOREIGN_EXTENSIONS}
    UNION ALL SELECT format('origin %s', roname) FROM pg_replication_origin WHERE ${FOREIGN_ORIGINS}
  )
  SELECT md5(string_agg(fact, ',' ORDER BY fact)) AS fingerprint FROM facts`;

/** What a transaction sees, for what is made from it, and the definitions as of then. $1, $2, $3: as of FINGERPRINT_CATALOG. */
export const READ_SEEN = `SELECT pg_current_snapshot()::text AS seen, (${FINGERPRINT_CATALOG}) AS catalog`;
