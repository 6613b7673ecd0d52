import { quoteIdentifier } from '@waypost/contracts';

/** More keys than this are not listed: the whole table counts as changed. */
export const MAX_KEYS = 1000;

/** $1: tables. One row for each trigger of ours that is there and fires always, for replicated statements too. */
export const READ_TRIGGERS = `
  SELECT t.tgrelid::int8::text AS oid, count(*)::int AS triggers FROM pg_trigger t
  WHERE t.tgrelid = ANY($1::oid[]) AND t.tgname LIKE 'waypost\\_capture\\_%' AND t.tgenabled = 'A'
  GROUP BY t.tgrelid`;

/** One for each operation. */
export const TRIGGERS_PER_TABLE = 4;

/** The key's columns, in the order of the primary key. $1: a table's oid. */
export const READ_KEY = `
  SELECT coalesce(array_agg(a.attname::text ORDER BY k.position), '{}') AS key
  FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, position), pg_attribute a
  WHERE i.indrelid = $1::oid AND i.indisprimary AND k.position <= i.indnkeyatts AND a.attrelid = i.indrelid AND a.attnum = k.attnum`;

/** All tables that carry triggers of ours. */
export const READ_WATCHED = `
  SELECT DISTINCT t.tgrelid::int8::text AS oid, t.tgrelid::regclass::text AS name
  FROM pg_trigger t WHERE t.tgname LIKE 'waypost\\_capture\\_%' AND NOT t.tgisinternal ORDER BY 2`;

/**
 * The function of one table's triggers. Whoever writes to the table needs no right on schema waypost: the function runs as its owner, with a search path of
 * its own. A statement that changed no row leaves nothing.
 */
export function createFunction(oid: string, key: readonly string[]): string {
  const columns = key.map((name) => quoteIdentifier(name)).join(', ');
  const keyOf = key.length === 0 ? 'NULL::text' : `ROW(${columns})::text`;
  const record = (rows: string): string => `
      INSERT INTO waypost.changes (relation, operation, keys)
      SELECT TG_RELID, TG_OP, CASE WHEN count(*) <= ${MAX_KEYS} AND count(key) > 0 THEN array_agg(key) END
      FROM (${rows}) AS changed HAVING count(*) > 0;`;
  // Bounded before anything is compared: a statement may change millions of rows.
  const select = (rows: string): string => `SELECT ${keyOf} AS key FROM ${rows} LIMIT ${MAX_KEYS + 1}`;
  return `
    CREATE OR REPLACE FUNCTION ${functionOf(oid)} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $capture$
    BEGIN
      CASE TG_OP
      WHEN 'INSERT' THEN ${record(select('new_rows'))}
      WHEN 'DELETE' THEN ${record(select('old_rows'))}
      WHEN 'UPDATE' THEN ${record(key.length === 0 ? select('new_rows') : `(${select('old_rows')}) UNION (${select('new_rows')})`)}
      ELSE INSERT INTO waypost.changes (relation, operation) VALUES (TG_RELID, TG_OP);
      END CASE;
      RETURN NULL;
    END $capture$;
    REVOKE ALL ON FUNCTION ${functionOf(oid)} FROM PUBLIC`;
}

/** Replaces those that are there. */
export function createTriggers(oid: string, table: string): string {
  const trigger = (operation: string, referencing: string): string => `
    CREATE OR REPLACE TRIGGER ${triggerOf(operation)} AFTER ${operation} ON ${table} ${referencing} FOR EACH STATEMENT EXECUTE FUNCTION ${functionOf(oid)};
    ALTER TABLE ${table} ENABLE ALWAYS TRIGGER ${triggerOf(operation)};`;
  return [
    trigger('INSERT', 'REFERENCING NEW TABLE AS new_rows'),
    trigger('UPDATE', 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'),
    trigger('DELETE', 'REFERENCING OLD TABLE AS old_rows'),
    trigger('TRUNCATE', ''),
  ].join('');
}

export function dropTriggers(oid: string, table: string): string {
  const triggers = ['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'].map(
    (operation) => `DROP TRIGGER IF EXISTS ${triggerOf(operation)} ON ${table};`,
  );
  return `${triggers.join('\n')} DROP FUNCTION IF EXISTS ${functionOf(oid)};`;
}

function functionOf(oid: string): string {
  return `waypost.capture_${oid}()`;
}

function triggerOf(operation: string): string {
  return `waypost_capture_${operation.toLowerCase()}`;
}
