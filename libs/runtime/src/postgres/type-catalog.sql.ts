/**
 * Types with all that they are made of. $1: their oids. A range is plain where its subtype, its name and its multirange's name say all about it:
 * no collation, no operator class but the default one, no function.
 */
export const DESCRIBE_TYPES = `
  WITH RECURSIVE needed(oid) AS (
    SELECT unnest($1::oid[])
    UNION
    SELECT part.oid FROM needed JOIN pg_type t ON t.oid = needed.oid,
    LATERAL (
      SELECT t.typelem WHERE t.typelem <> 0 AND t.typcategory = 'A'
      UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
      UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND t.typrelid <> 0 AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid
      UNION ALL SELECT r.rngtypid FROM pg_range r WHERE r.rngmultitypid = t.oid
    ) AS part(oid)
  )
  SELECT t.oid::int8 AS oid, format_type(t.oid, NULL) AS name, t.typtype AS kind,
         CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END::int8 AS "elementOid", t.typbasetype::int8 AS "baseOid",
         CASE WHEN t.typbasetype <> 0 THEN format_type(t.typbasetype, t.typtypmod) END AS base,
         t.typsend <> 0 AS "hasSend",
         (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels,
         coalesce((SELECT json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'typeOid', a.atttypid::int8)
                                   ORDER BY a.attnum)
                   FROM pg_attribute a WHERE a.attrelid = t.typrelid AND t.typrelid <> 0 AND a.attnum > 0 AND NOT a.attisdropped), '[]') AS attributes,
         coalesce((SELECT c.relkind <> 'c' FROM pg_class c WHERE c.oid = t.typrelid), false) AS "ofTable",
         (SELECT json_build_object(
                   'oid', r.rngtypid::int8, 'subtypeOid', r.rngsubtype::int8, 'subtype', format_type(r.rngsubtype, NULL),
                   'multirange', format_type(r.rngmultitypid, NULL),
                   'isPlain', r.rngcollation = 0 AND o.opcdefault AND r.rngcanonical = 0,
                   'definition', 'CREATE TYPE ' || format_type(r.rngtypid, NULL) || ' AS RANGE (subtype = ' || format_type(r.rngsubtype, NULL)
                     || CASE WHEN r.rngcollation <> 0 THEN ', collation = ' || r.rngcollation::regcollation::text ELSE '' END
                     || CASE WHEN NOT o.opcdefault THEN ', subtype_opclass = ' || format('%I.%I', n.nspname, o.opcname) ELSE '' END
                     || CASE WHEN r.rngcanonical <> 0 THEN ', canonical = ' || r.rngcanonical::regproc::text ELSE '' END
                     || ', multirange_type_name = ' || format_type(r.rngmultitypid, NULL) || ')')
          FROM pg_range r JOIN pg_opclass o ON o.oid = r.rngsubopc JOIN pg_namespace n ON n.oid = o.opcnamespace
          WHERE t.oid IN (r.rngtypid, r.rngmultitypid)) AS range,
         (SELECT quote_ident(x.extname) FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
          WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e') AS extension,
         getdatabaseencoding() IN ('UTF8', 'SQL_ASCII', 'LATIN1') AS "isOrderedAsUtf8"
  FROM needed JOIN pg_type t USING (oid)
  ORDER BY t.oid`;
