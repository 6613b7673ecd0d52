import { KNOWN_TABLES } from '../state/state.sql.js';
import { RETAINED_ROWS } from '../state/retained-rows.js';

/** Object ids below this belong to PostgreSQL itself: no one alters what has them. */
const FIRST_USER_OID = 16384;

/**
 * Whether the mirror is still as it was when it was inspected: versions (xmin) of all that its description is made of, and what is known of each table.
 * That is the tables, their partitions and heirs, columns and indexes, the types and collations of their columns, foreign keys onto them, and whose they are.
 * $1, $2: schemas and names of the tables, $3, $4: of the types, $5: the tables as quoteTable spells them.
 */
export const PROVE_MIRROR = `
  WITH RECURSIVE relations AS (
    SELECT c.oid, format('class %s %s %s %s', w.position, c.oid, c.xmin, n.xmin) AS fact
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(schema, name, position)
    JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
  ), parts(oid, fact) AS (
    SELECT oid, fact FROM relations
    UNION
    SELECT c.oid, format('part %s %s %s %s %s', h.inhparent, h.xmin, c.oid, c.xmin, n.xmin)
    FROM parts p JOIN pg_inherits h ON h.inhparent = p.oid JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  ), columns AS (
    SELECT a.attrelid, a.attnum, a.xmin, a.atttypid, a.attcollation FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid WHERE a.attnum > 0
  ), named AS (
    SELECT t.oid, w.position FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS w(schema, name, position)
    JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_type t ON t.typnamespace = n.oid AND t.typname = w.name
  ), types(oid) AS (
    SELECT oid FROM (SELECT atttypid FROM columns UNION SELECT oid FROM named) AS first(oid) WHERE oid >= ${FIRST_USER_OID}
    UNION
    SELECT part.oid FROM types JOIN pg_type t ON t.oid = types.oid, LATERAL (
      VALUES (t.typelem), (t.typbasetype)
      UNION ALL SELECT atttypid FROM pg_attribute WHERE attrelid = t.typrelid AND t.typrelid <> 0 AND attnum > 0
      UNION ALL SELECT unnest(ARRAY[rngsubtype, rngtypid, rngmultitypid]) FROM pg_range WHERE t.oid IN (rngtypid, rngmultitypid)
    ) AS part(oid) WHERE part.oid >= ${FIRST_USER_OID}
  ), keys AS (
    SELECT k.oid, k.xmin, k.conrelid, k.conkey, k.confrelid, k.confkey, k.conpfeqop || k.conppeqop AS operators
    FROM (SELECT DISTINCT oid FROM parts) AS p JOIN pg_constraint k ON k.confrelid = p.oid WHERE k.contype = 'f' AND k.conparentid = 0
  ), facts(fact) AS (
    SELECT fact FROM parts
    UNION ALL SELECT format('column %s %s %s', attrelid, attnum, xmin) FROM columns
    UNION ALL SELECT format('index %s %s %s', i.indexrelid, i.xmin, i.indisvalid) FROM relations r JOIN pg_index i ON i.indrelid = r.oid
    UNION ALL SELECT format('collation %s %s %s', l.oid, l.xmin, n.xmin) FROM columns JOIN pg_collation l ON l.oid = attcollation
              JOIN pg_namespace n ON n.oid = l.collnamespace WHERE l.oid >= ${FIRST_USER_OID}
    UNION ALL SELECT format('named %s %s', position, oid) FROM named
    UNION ALL SELECT format('type %s %s %s', t.oid, t.xmin, n.xmin) FROM types JOIN pg_type t ON t.oid = types.oid JOIN pg_namespace n ON n.oid = t.typnamespace
    UNION ALL SELECT format('label %s %s', e.oid, e.xmin) FROM types JOIN pg_enum e ON e.enumtypid = types.oid
    UNION ALL SELECT format('attribute %s %s %s', a.attrelid, a.attnum, a.xmin) FROM types JOIN pg_type t ON t.oid = types.oid
              JOIN pg_attribute a ON a.attrelid = t.typrelid WHERE t.typrelid <> 0 AND a.attnum > 0
    UNION ALL SELECT format('extension %s %s', d.objid, d.refobjid) FROM types
              JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = types.oid AND d.deptype = 'e'
    UNION ALL SELECT format('key %s %s %s %s %s', k.oid, k.xmin, c.xmin, n.xmin, pg_partition_root(k.conrelid)::oid)
              FROM keys k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    UNION ALL SELECT format('from %s %s %s', k.oid, a.attnum, a.xmin) FROM keys k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
    UNION ALL SELECT format('to %s %s %s', k.oid, a.attnum, a.xmin) FROM keys k JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey)
    UNION ALL SELECT format('operator %s %s %s', o.oid, o.xmin, n.xmin) FROM keys k, unnest(k.operators) AS used(oid)
              JOIN pg_operator o ON o.oid = used.oid JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE used.oid >= ${FIRST_USER_OID}
    UNION ALL SELECT format('owned %s %s %s %s', relation, table_oid, database, how) FROM waypost.edge_owned_tables WHERE relation = ANY ($5::text[])
  )
  SELECT (SELECT encode(sha256(convert_to(string_agg(fact, ',' ORDER BY fact COLLATE "C"), 'UTF8')), 'hex') FROM facts) AS fingerprint,
         (SELECT coalesce(json_agg(k), '[]') FROM (${KNOWN_TABLES}) AS k) AS known,
         (SELECT coalesce(json_agg(DISTINCT table_name), '[]') FROM ${RETAINED_ROWS}) AS retained`;
