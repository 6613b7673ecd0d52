import { OWN_COMMENT, OWN_NAME } from '../state/own-index-names.js';

/** Whether the service's role may alter tables, and whose they are. $1: their oids. */
export const FIND_OWNERS = `
  SELECT oid::int8 AS oid, pg_has_role(relowner, 'USAGE') AS "isOurs", quote_ident(pg_get_userbyid(relowner)) AS owner, quote_ident(current_user) AS role
  FROM pg_class WHERE oid = ANY ($1::oid[])`;

/** The same of types. $1: schemas, $2: names. */
export const FIND_TYPE_OWNERS = `
  SELECT w.position, pg_has_role(t.typowner, 'USAGE') AS "isOurs", quote_ident(pg_get_userbyid(t.typowner)) AS owner, quote_ident(current_user) AS role
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(schema, name, position)
  JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_type t ON t.typnamespace = n.oid AND t.typname = w.name`;

/**
 * What depends on columns, in PostgreSQL's words. Left out: the column's own default, its NOT NULL, and indexes that Waypost made. `blocksType`: PostgreSQL
 * does not change the type of a column on which that depends. $1: oids of tables, $2: names of columns.
 */
export const FIND_DEPENDENTS = `
  SELECT a.attrelid::int8 AS oid, a.attname AS "column", coalesce((SELECT pg_describe_object('pg_class'::regclass, r.ev_class, 0) FROM pg_rewrite r WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid),
                  pg_describe_object(d.classid, d.objid, d.objsubid)) AS what,
         d.classid IN ('pg_rewrite'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass, 'pg_proc'::regclass, 'pg_publication_rel'::regclass, 'pg_attrdef'::regclass)
           OR d.classid = 'pg_class'::regclass AND d.objid = a.attrelid AS "blocksType"
  FROM unnest($1::oid[], $2::text[]) AS w(oid, name)
  JOIN pg_attribute a ON a.attrelid = w.oid AND a.attname = w.name
  JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
  WHERE NOT EXISTS (SELECT FROM pg_attrdef f WHERE d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid AND f.adrelid = a.attrelid AND f.adnum = a.attnum)
    AND NOT EXISTS (SELECT FROM pg_constraint k WHERE d.classid = 'pg_constraint'::regclass AND k.oid = d.objid AND k.contype = 'n')
    AND NOT EXISTS (SELECT FROM pg_class i WHERE d.classid = 'pg_class'::regclass AND i.oid = d.objid AND i.relkind = 'i' AND i.relname ~ '${OWN_NAME}'
                    AND obj_description(i.oid, 'pg_class') LIKE '${OWN_COMMENT}%')
  ORDER BY 1, 2, 3`;

/** Types by schema and name. $1: schemas, $2: names. */
export const FIND_TYPES = `
  SELECT t.oid::int8 AS oid, wanted.position
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted(schema, name, position)
  JOIN pg_namespace n ON n.nspname = wanted.schema
  JOIN pg_type t ON t.typnamespace = n.oid AND t.typname = wanted.name`;

/** Labels as SQL literals, in a list. $1: the labels. */
export const QUOTE_LABELS = `
  SELECT coalesce(string_agg(quote_literal(label), ', ' ORDER BY position), '') AS list
  FROM unnest($1::text[]) WITH ORDINALITY AS l(label, position)`;
