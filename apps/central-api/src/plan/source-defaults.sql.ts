/** Object ids below this belong to PostgreSQL itself and are the same on every server. */
const FIRST_USER_OID = 16384;

/**
 * Defaults of columns that are one value: constants and immutable casts of PostgreSQL's own, and nothing else in the expression's tree. $1: oids of tables.
 */
export const SOURCE_DEFAULTS = `
  SELECT d.adrelid::int8::text AS "tableOid", a.attname AS "column", format_type(a.atttypid, a.atttypmod) AS type, pg_get_expr(d.adbin, d.adrelid) AS expression
  FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  WHERE d.adrelid = ANY($1::oid[]) AND a.attgenerated = '' AND NOT a.attisdropped
    AND d.adbin::text !~ '\\{(?!(CONST|FUNCEXPR|RELABELTYPE|COERCETODOMAIN) )' AND d.adbin::text !~ ':constisnull true'
    AND NOT EXISTS (
      SELECT FROM regexp_matches(d.adbin::text, ':funcid (\\d+)', 'g') AS found JOIN pg_proc p ON p.oid = found[1]::oid
      WHERE p.provolatile <> 'i' OR p.oid >= ${FIRST_USER_OID})
  ORDER BY 1, a.attnum`;
