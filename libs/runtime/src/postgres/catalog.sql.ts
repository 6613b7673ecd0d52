/** Tables and views by schema and name. $1: schemas, $2: names. */
export const DESCRIBE_TABLES = `
  SELECT c.oid::int8::text AS oid, n.nspname AS schema, c.relname AS "table", c.relkind AS kind, c.relpersistence AS persistence,
         c.relrowsecurity AS row_security,
         coalesce((SELECT json_agg(json_build_object(
                     'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'notNull', a.attnotnull,
                     'collation', (SELECT format('%I.%I', ln.nspname, l.collname)
                                   FROM pg_type y, pg_collation l JOIN pg_namespace ln ON ln.oid = l.collnamespace
                                   WHERE y.oid = a.atttypid AND l.oid = a.attcollation AND l.oid <> y.typcollation),
                     'generated', a.attgenerated <> '', 'collatable', a.attcollation <> 0, 'identityAlways', a.attidentity = 'a',
                     'typeOid', a.atttypid::int8) ORDER BY a.attnum)
                   FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]') AS columns,
         coalesce((SELECT json_agg(a.attname ORDER BY k.position)
                   FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, position), pg_attribute a
                   WHERE i.indrelid = c.oid AND i.indisprimary AND k.position <= i.indnkeyatts
                     AND a.attrelid = c.oid AND a.attnum = k.attnum), '[]') AS primary_key,
         c.relispopulated AS populated,
         EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid AND c.relkind = 'r') AS has_heirs,
         coalesce((WITH RECURSIVE parts(oid) AS (
                     SELECT inhrelid FROM pg_inherits WHERE inhparent = c.oid
                     UNION SELECT h.inhrelid FROM pg_inherits h JOIN parts ON h.inhparent = parts.oid)
                   SELECT json_agg(format('%I.%I', pn.nspname, p.relname))
                   FROM parts JOIN pg_class p ON p.oid = parts.oid JOIN pg_namespace pn ON pn.oid = p.relnamespace
                   WHERE p.relkind = 'f' OR p.relpersistence <> 'p'), '[]') AS unsafe_parts,
         coalesce((SELECT json_agg(k.names) FROM pg_index i, LATERAL (
                     SELECT json_agg(a.attname ORDER BY p.position) AS names, bool_and(a.attnotnull) AS solid, count(*) AS columns
                     FROM unnest(i.indkey) WITH ORDINALITY AS p(attnum, position)
                     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.attnum
                     WHERE p.position <= i.indnkeyatts) AS k
                   WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND k.solid), '[]') AS unique_keys
  FROM unnest($1::text[], $2::text[]) AS wanted(schema, "table")
  JOIN pg_namespace n ON n.nspname = wanted.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted."table" AND c.relkind IN ('r', 'p', 'v', 'm', 'f')`;
