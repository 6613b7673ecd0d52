import { OWN_COMMENT, OWN_NAME } from '../state/own-index-names.js';

/** Object ids below this belong to PostgreSQL itself. */
const FIRST_USER_OID = 16384;

/** The tables that Waypost created and that are still there, with the indexes that it made for them. $1: the database's identity. */
export const FIND_OWN_INDEXES = `
  SELECT o.relation, o.table_oid::int8::text AS oid,
         coalesce((SELECT json_agg(json_build_object('schema', n.nspname, 'name', c.relname, 'isValid', i.indisvalid))
                   FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE i.indrelid = o.table_oid AND c.relname ~ '${OWN_NAME}'
                     AND obj_description(c.oid, 'pg_class') LIKE '${OWN_COMMENT}%'), '[]') AS indexes
  FROM waypost.edge_owned_tables o
  WHERE o.how = 'created' AND o.database = $1 AND o.table_oid = to_regclass(o.relation)`;

/**
 * What a view needs that is neither PostgreSQL's own nor the table nor a type of its columns. $1: the view, $2: the table's oid.
 */
export const FIND_FOREIGN_PARTS = `
  SELECT pg_describe_object(d.refclassid, d.refobjid, 0) AS part
  FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
  WHERE w.ev_class = $1::regclass AND d.refobjid >= ${FIRST_USER_OID} AND d.refobjid <> w.ev_class
    AND NOT (d.refclassid = 'pg_class'::regclass AND d.refobjid = $2::oid)
    AND NOT (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT atttypid FROM pg_attribute WHERE attrelid = $2::oid))
  LIMIT 1`;

/** DDL takes no parameters: PostgreSQL itself quotes the comment. $1: the text. */
export const QUOTE_TEXT = 'SELECT quote_literal($1::text) AS quoted';
