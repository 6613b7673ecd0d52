/** Object ids below this belong to PostgreSQL itself and are the same on every server. */
const FIRST_USER_OID = 16384;

/**
 * All indexes of tables, with search_path at pg_catalog, so that expressions name every other schema. Neither a key's text nor that of its collation says whether the
 * collation is the one that the key has by itself: PostgreSQL's own definition of the index names it only where it is not.
 * $1: oids of the tables.
 */
export const SOURCE_INDEXES = `
  SELECT i.indrelid::int8::text AS "tableOid", c.relname AS name, m.amname AS method, i.indisexclusion AS "isExclusion",
         i.indisvalid AND i.indisready AS "isUsable", pg_get_expr(i.indpred, i.indrelid) AS predicate,
         coalesce(i.indexprs::text, '') || coalesce(i.indpred::text, '') ~ ':varattno 0 ' AS "namesWholeRow",
         (SELECT json_agg(json_build_object(
                   'column', a.attname, 'expression', CASE WHEN k.attnum = 0 THEN key.text END, 'operatorClass', o.opcname,
                   'isDefaultClass', o.opcdefault,
                   'collation', CASE WHEN position(key.text || ' COLLATE ' || quote_ident(l.collname) IN pg_get_indexdef(i.indexrelid)) > 0 THEN l.collname END,
                   'descending', k.option & 1 = 1, 'nullsFirst', k.option & 2 = 2) ORDER BY k.position)
          FROM unnest(i.indkey::int2[], i.indclass::oid[], i.indcollation::oid[], i.indoption::int2[])
                 WITH ORDINALITY AS k(attnum, class, locale, option, position)
          CROSS JOIN LATERAL pg_get_indexdef(i.indexrelid, k.position::int, false) AS key(text)
          LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum <> 0
          LEFT JOIN pg_opclass o ON o.oid = k.class LEFT JOIN pg_collation l ON l.oid = k.locale
          WHERE k.position <= i.indnkeyatts) AS keys,
         ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
               WHERE k.position > i.indnkeyatts ORDER BY k.position) AS include,
         ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid AND (a.attnum = ANY(i.indkey::int2[]) OR EXISTS (
                 SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                 AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))
               AND a.attnum <> 0 ORDER BY a.attnum) AS columns,
         ARRAY(SELECT pg_describe_object(d.refclassid, d.refobjid, 0) FROM pg_depend d
               WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid >= ${FIRST_USER_OID}
                 AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_collation'::regclass)
               ORDER BY 1) AS "foreignParts",
         ARRAY(SELECT d.refobjid::int8::text FROM pg_depend d
               WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid >= ${FIRST_USER_OID}
                 AND d.refclassid = 'pg_type'::regclass) AS types
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
  WHERE i.indrelid = ANY($1::oid[])
  ORDER BY i.indrelid, c.relname COLLATE "C"`;
