/** Kinds of relations by schema and name. $1: schemas, $2: names. */
export const FIND_RELATIONS = `
  SELECT w.position::int AS position, c.oid::int8 AS oid, c.relkind AS kind
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(schema, name, position)
  JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name`;
