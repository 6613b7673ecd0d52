import { FINISH_CYCLE, insertTables } from '../audit/audit.sql.js';
import { RETAINED_ROWS } from '../state/retained-rows.js';
import { KNOWN_TABLES } from '../state/state.sql.js';

/** Central gets an ack of the commit, which must survive a power failure, whatever the device's server is set to. */
export const COMMIT_DURABLY = "SELECT set_config('synchronous_commit', 'local', true) WHERE current_setting('synchronous_commit') = 'off'";

/**
 * Whether the mirror is still as it was when it was inspected: versions (xmin) of all that defines its tables and their types, and what is
 * known of each table. User-defined types alone: no one alters PostgreSQL's own. $1, $2: schemas and names of the tables, $3, $4: of the types.
 */
export const PROVE_MIRROR = `
  WITH RECURSIVE relations AS (
    SELECT c.oid, format('class %s %s %s %s', w.position, c.oid, c.xmin, n.xmin) AS fact
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(schema, name, position)
    JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
  ), columns AS (
    SELECT a.attrelid, a.attnum, a.xmin, a.atttypid FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid WHERE a.attnum > 0
  ), named AS (
    SELECT t.oid, w.position FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS w(schema, name, position)
    JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_type t ON t.typnamespace = n.oid AND t.typname = w.name
  ), types(oid) AS (
    SELECT oid FROM (SELECT atttypid FROM columns UNION SELECT oid FROM named) AS first(oid) WHERE oid >= 16384
    UNION
    SELECT part.oid FROM types JOIN pg_type t ON t.oid = types.oid, LATERAL (
      VALUES (t.typelem), (t.typbasetype)
      UNION ALL SELECT atttypid FROM pg_attribute WHERE attrelid = t.typrelid AND t.typrelid <> 0 AND attnum > 0
      UNION ALL SELECT unnest(ARRAY[rngsubtype, rngtypid, rngmultitypid]) FROM pg_range WHERE t.oid IN (rngtypid, rngmultitypid)
    ) AS part(oid) WHERE part.oid >= 16384
  ), facts(fact) AS (
    SELECT fact FROM relations
    UNION ALL SELECT format('column %s %s %s', attrelid, attnum, xmin) FROM columns
    UNION ALL SELECT format('named %s %s', position, oid) FROM named
    UNION ALL SELECT format('type %s %s %s', t.oid, t.xmin, n.xmin) FROM types JOIN pg_type t ON t.oid = types.oid JOIN pg_namespace n ON n.oid = t.typnamespace
    UNION ALL SELECT format('label %s %s', e.oid, e.xmin) FROM types JOIN pg_enum e ON e.enumtypid = types.oid
    UNION ALL SELECT format('attribute %s %s %s', a.attrelid, a.attnum, a.xmin) FROM types JOIN pg_type t ON t.oid = types.oid
              JOIN pg_attribute a ON a.attrelid = t.typrelid WHERE t.typrelid <> 0 AND a.attnum > 0
  )
  SELECT (SELECT encode(sha256(convert_to(string_agg(fact, ',' ORDER BY fact COLLATE "C"), 'UTF8')), 'hex') FROM facts) AS fingerprint,
         (SELECT coalesce(json_agg(k), '[]') FROM (${KNOWN_TABLES}) AS k) AS known,
         EXISTS (SELECT FROM ${RETAINED_ROWS}) AS "hasRetained"`;

/**
 * Writes down that the device still holds its manifest, as one transaction. $1…$8: as FINISH_CYCLE, $9…$15: as insertTables, $16: verified_at.
 */
export const CONFIRM_CYCLE = `
  WITH state AS (UPDATE waypost.edge_sync_state SET value = $16 WHERE key = 'verified_at'), cycle AS (${FINISH_CYCLE}),
  tables AS (${insertTables(9)})
  ${COMMIT_DURABLY}`;
