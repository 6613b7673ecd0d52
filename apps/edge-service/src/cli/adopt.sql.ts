/** Tables of the database beside PostgreSQL's and Waypost's own, partitions with their root, and what is recorded of each. $1: the database's identity. */
export const LIST_TABLES = `
  WITH tables AS (
    SELECT format('"%s"."%s"', replace(n.nspname, '"', '""'), replace(c.relname, '"', '""')) AS relation,
           CASE WHEN n.nspname = 'public' THEN quote_ident(c.relname) ELSE format('%I.%I', n.nspname, c.relname) END AS name, c.oid
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('waypost', 'information_schema') AND n.nspname !~ '^pg_'
  )
  SELECT coalesce(t.name, o.relation) AS name, t.oid IS NOT NULL AS "exists", o.how, o.since,
         o.relation IS NOT NULL AND (t.oid IS NULL OR o.table_oid IS NULL OR o.database <> $1 OR o.table_oid = t.oid) AS ours
  FROM tables t FULL JOIN waypost.edge_owned_tables o USING (relation) ORDER BY 1`;

/** Kinds of relations by schema and name. $1: schemas, $2: names. */
export const FIND_RELATIONS = `
  SELECT w.position::int AS position, c.oid::int8 AS oid, c.relkind AS kind
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(schema, name, position)
  JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name`;
