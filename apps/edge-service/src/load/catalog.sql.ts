/**
 * Foreign keys onto tables and onto their partitions. $1: the tables' oids. A partition counts for its root, on both sides; the condition then says
 * which partition. A partitioned table's keys are repeated for each of its partitions, with conparentid set: one of them is enough.
 */
export const FIND_REFERENCES = `
  WITH members AS (
    SELECT w.oid AS root, coalesce(p.relid, w.oid)::oid AS oid FROM unnest($1::oid[]) AS w(oid) LEFT JOIN LATERAL pg_partition_tree(w.oid) AS p ON true
  )
  SELECT k.oid::int8 AS oid, k.conname AS "constraint", coalesce(pg_partition_root(k.conrelid), k.conrelid)::oid::int8 AS "fromOid", m.root::int8 AS "toOid",
         format('%I.%I', n.nspname, c.relname) AS "fromTable",
         k.confdeltype <> 'a' AS "actsOnDelete", k.confupdtype <> 'a' AS "actsOnUpdate",
         ARRAY(SELECT t.attname::text FROM unnest(k.confkey) AS to_attnum JOIN pg_attribute t ON t.attrelid = k.confrelid AND t.attnum = to_attnum) AS "columns",
         (SELECT string_agg(format('l.%1$I OPERATOR(%2$I.%3$s) a.%1$I', t.attname, o_n.nspname, o.oprname), ' AND ')
          FROM unnest(k.confkey, k.conppeqop) AS pair(to_attnum, operator)
          JOIN pg_attribute t ON t.attrelid = k.confrelid AND t.attnum = pair.to_attnum
          JOIN pg_operator o ON o.oid = pair.operator
          JOIN pg_namespace o_n ON o_n.oid = o.oprnamespace) AS "equal",
         (SELECT string_agg(format('t.%I OPERATOR(%I.%s) f.%I', t.attname, o_n.nspname, o.oprname, f.attname), ' AND ')
          FROM unnest(k.confkey, k.conkey, k.conpfeqop) AS pair(to_attnum, from_attnum, operator)
          JOIN pg_attribute t ON t.attrelid = k.confrelid AND t.attnum = pair.to_attnum
          JOIN pg_attribute f ON f.attrelid = k.conrelid AND f.attnum = pair.from_attnum
          JOIN pg_operator o ON o.oid = pair.operator
          JOIN pg_namespace o_n ON o_n.oid = o.oprnamespace)
         || CASE WHEN k.confrelid <> m.root THEN format(' AND t.tableoid IN (SELECT relid FROM pg_catalog.pg_partition_tree(%s))', k.confrelid::oid) ELSE '' END
         || CASE WHEN pg_partition_root(k.conrelid) <> k.conrelid
                 THEN format(' AND f.tableoid IN (SELECT relid FROM pg_catalog.pg_partition_tree(%s))', k.conrelid::oid) ELSE '' END AS "match"
  FROM pg_constraint k
  JOIN members m ON m.oid = k.confrelid
  JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE k.contype = 'f' AND k.conparentid = 0
  ORDER BY 4, 1`;

/** A foreign key as SQL that makes it again. $1: its oid. */
export const DESCRIBE_FOREIGN_KEY = `
  SELECT format('%I.%I', n.nspname, c.relname) AS "table", quote_ident(k.conname) AS name, pg_get_constraintdef(k.oid) AS definition,
         obj_description(k.oid, 'pg_constraint') AS comment
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE k.oid = $1`;

/**
 * Unique and exclusion indexes of a table and of its partitions that PostgreSQL checks row by row, but for primary keys, with their columns, those of expressions
 * too. $1: the table's oid. `references`: the column is part of a foreign key.
 */
export const FIND_UNIQUE_INDEXES = `
  WITH members AS (SELECT $1::oid AS oid UNION SELECT relid FROM pg_partition_tree($1::oid))
  SELECT i.indexrelid::regclass::text AS name,
         (SELECT json_agg(json_build_object('name', a.attname, 'mayBeNull', NOT a.attnotnull AND NOT i.indnullsnotdistinct,
                   'type', format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, NULL),
                   'length', CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END - 4,
                   'references', EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = i.indrelid AND a.attnum = ANY(k.conkey)))
                 ORDER BY a.attnum)
          FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
          WHERE a.attrelid = i.indrelid AND (
            a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1])
            OR i.indexprs IS NOT NULL AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                 AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))) AS columns
  FROM members m JOIN pg_index i ON i.indrelid = m.oid JOIN pg_class c ON c.oid = i.indexrelid AND NOT c.relispartition
  WHERE (i.indisunique OR i.indisexclusion) AND i.indimmediate AND NOT i.indisprimary
  ORDER BY 1`;

/**
 * Whether each text is the name of one existing type, and nothing else: only then may it stand in SQL text. PostgreSQL parses it as a
 * type name. $1: the texts.
 */
export const PARSE_TYPES = `
  SELECT wanted.type, t.oid IS NOT NULL AS known, coalesce(t.typcollation, 0) <> 0 AS collatable
  FROM unnest($1::text[]) AS wanted(type)
  LEFT JOIN pg_type t ON t.oid = to_regtype(wanted.type)`;

/**
 * The operator that the unique index over a key column compares by: a type's own, such as citext's, or PostgreSQL's for the type that it is
 * stored as. $1: type oids.
 */
export const FIND_EQUALITY = `
  WITH RECURSIVE stored AS (
    SELECT wanted.oid AS type, wanted.oid AS base FROM unnest($1::oid[]) AS wanted(oid)
    UNION ALL
    SELECT s.type, t.typbasetype FROM stored s JOIN pg_type t ON t.oid = s.base WHERE t.typbasetype <> 0
  )
  SELECT s.type::int8, coalesce(min('OPERATOR(' || quote_ident(n.nspname) || '.=)'), 'OPERATOR(pg_catalog.=)') AS operator
  FROM stored s
  JOIN pg_type t ON t.oid = s.base AND t.typbasetype = 0
  LEFT JOIN pg_operator o ON o.oprname = '=' AND o.oprleft = s.base AND o.oprright = s.base
  LEFT JOIN pg_namespace n ON n.oid = o.oprnamespace
  GROUP BY s.type`;
