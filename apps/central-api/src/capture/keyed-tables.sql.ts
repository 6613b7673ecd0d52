/** A table, its partitions, and what it is a partition of. $1: its oid. */
export const READ_TREE = `
  WITH RECURSIVE below(oid) AS (
    SELECT $1::oid UNION SELECT h.inhrelid FROM below JOIN pg_inherits h ON h.inhparent = below.oid
  ), above(oid) AS (
    SELECT $1::oid UNION SELECT h.inhparent FROM above JOIN pg_inherits h ON h.inhrelid = above.oid
  )
  SELECT oid::int8::text AS oid FROM (SELECT oid FROM below UNION SELECT oid FROM above) AS tree`;

/** How often a view, or views within it, name one of some tables. $1: the view, $2: oids of the views within it, $3: oids of the tables. */
export const READ_REFERENCES = `
  SELECT count(*)::int AS count
  FROM pg_rewrite, regexp_matches(ev_action::text, ':rtekind 0 :relid (\\d+)', 'g') AS found
  WHERE (ev_class = $1::regclass OR ev_class = ANY($2::oid[])) AND found[1]::oid = ANY($3::oid[])`;

/** Types whose text is not the same in all sessions, or may not be: all but some of PostgreSQL's own and enums. $1: oids of types. */
export const READ_MOVING_TYPES = `
  SELECT DISTINCT format_type(t.oid, NULL) AS name FROM unnest($1::oid[]) AS wanted(oid) JOIN pg_type t USING (oid)
  WHERE t.typtype <> 'e' AND t.oid <> ALL(ARRAY['bool', 'bytea', 'int2', 'int4', 'int8', 'oid', 'numeric', 'text', 'varchar', 'bpchar', 'name', 'uuid',
    'inet', 'cidr', 'macaddr', 'macaddr8', 'bit', 'varbit']::regtype[]::oid[])`;

/** Columns whose collation calls texts equal that differ. $1: oid of the table, $2: names of columns. */
export const READ_LOOSE_COLLATIONS = `
  SELECT a.attname::text AS name FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
  WHERE a.attrelid = $1::oid AND a.attname = ANY($2::text[]) AND NOT c.collisdeterministic`;
