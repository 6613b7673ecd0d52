import { quoteIdentifier, sha256Hex } from '@waypost/contracts';

/** Operations that can be tried on no row; of TRUNCATE it is only looked whether the trigger is there. */
export const TRIED = ['INSERT', 'UPDATE', 'DELETE'] as const;

const NAME_HASH_LENGTH = 16;

/**
 * One statement that changes no row. It runs as the table's owner, so triggers of the application's own fire with no more rights than they have when the
 * owner writes, and it takes no table that is not captured or belongs to another role. Where a rule stands in for the statement nothing would be seen.
 */
const CANARY_BODY = `
DECLARE
  name text;
  first text;
BEGIN
  SELECT format('%I.%I', n.nspname, c.relname), (SELECT quote_ident(a.attname) FROM pg_attribute a
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum LIMIT 1)
    INTO name, first
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = captured AND c.relkind IN ('r', 'p') AND pg_get_userbyid(c.relowner) = current_user AND EXISTS (
      SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace f ON f.oid = p.pronamespace
      WHERE t.tgrelid = c.oid AND t.tgname ~ '^waypost_capture_' AND f.nspname = 'waypost');
  IF name IS NULL THEN
    RAISE EXCEPTION 'not a captured table of %', current_user;
  END IF;
  IF EXISTS (SELECT FROM pg_rewrite w WHERE w.ev_class = captured AND w.is_instead AND w.ev_qual::text = '<>'
             AND w.ev_type::text = CASE operation WHEN 'UPDATE' THEN '2' WHEN 'INSERT' THEN '3' WHEN 'DELETE' THEN '4' END) THEN
    RAISE EXCEPTION 'a rule stands in for %', operation;
  END IF;
  CASE operation
    WHEN 'INSERT' THEN EXECUTE format('INSERT INTO %s SELECT WHERE false', name);
    WHEN 'UPDATE' THEN EXECUTE format('UPDATE %s SET %s = DEFAULT WHERE false', name, first);
    WHEN 'DELETE' THEN EXECUTE format('DELETE FROM %s WHERE false', name);
  END CASE;
  IF name IS DISTINCT FROM (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = captured) THEN
    RAISE EXCEPTION 'renamed meanwhile';
  END IF;
END `;

/** A lock that is not free at once, as while the table is altered, is not waited for: nothing is to queue behind this. */
const SETTINGS = ['search_path = pg_catalog, pg_temp', "lock_timeout = '100ms'"];
const STORED_SETTINGS = ['search_path=pg_catalog, pg_temp', 'lock_timeout=100ms'];

/**
 * For the tables of one owner, executable by the service alone. @param owner of the tables, @param service the role that central runs as; names as SQL writes
 * them unquoted
 */
export function createCanary(owner: string, service: string): string {
  const name = `waypost.canary_${sha256Hex(`${owner} ${CANARY_BODY}`).slice(0, NAME_HASH_LENGTH)}`;
  const signature = `${name}(regclass, text)`;
  return `
    CREATE OR REPLACE FUNCTION ${name}(captured regclass, operation text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
      ${SETTINGS.map((setting) => `SET ${setting}`).join(' ')} AS $canary$${CANARY_BODY}$canary$;
    REVOKE ALL ON FUNCTION ${signature} FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION ${signature} TO ${quoteIdentifier(service)};
    ALTER FUNCTION ${signature} OWNER TO ${quoteIdentifier(owner)};`;
}

/** Of a function p: it is the one above. */
const IS_CANARY = `p.pronamespace = to_regnamespace('waypost') AND p.prosrc = $canary$${CANARY_BODY}$canary$ AND p.prosecdef
    AND p.proconfig = ARRAY[${STORED_SETTINGS.map((setting) => `'${setting}'`).join(', ')}] AND oidvectortypes(p.proargtypes) = 'regclass, text'`;

/** Tables, their owners, the function that tries them, and the role of the service: who owns waypost.changes. $1: oids of tables. */
export const READ_CANARIES = `
  SELECT c.oid::int8::text AS oid, c.oid::regclass::text AS name, pg_get_userbyid(c.relowner)::text AS owner,
         (SELECT pg_get_userbyid(changes.relowner)::text FROM pg_class changes WHERE changes.oid = to_regclass('waypost.changes')) AS service,
         (SELECT format('%I.%I', 'waypost', p.proname) FROM pg_proc p
          WHERE ${IS_CANARY} AND p.proowner = c.relowner AND has_function_privilege(p.oid, 'EXECUTE') LIMIT 1) AS function
  FROM pg_class c WHERE c.oid = ANY($1::oid[]) ORDER BY 2`;

/** Functions of this kind that no captured table needs, and that this role may drop. */
export const READ_UNUSED_CANARIES = `
  SELECT p.oid::regprocedure::text AS name FROM pg_proc p
  WHERE p.pronamespace = to_regnamespace('waypost') AND p.proname ~ '^canary_' AND pg_has_role(p.proowner, 'USAGE')
    AND NOT (${IS_CANARY} AND EXISTS (
      SELECT FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgname LIKE 'waypost\\_capture\\_%' AND c.relowner = p.proowner))`;

/** The hook of the trigger functions: statements that changed no row are recorded, too. */
export const SWITCH_ON = "SELECT set_config('waypost.canary', 'on', true)";

/** What this transaction has recorded about a table; TRUNCATE where its trigger can fire. $1: the table's oid. */
export const READ_RECORDED = `
  SELECT DISTINCT operation FROM waypost.changes WHERE relation = $1::oid AND xid = pg_current_xact_id_if_assigned()
  UNION SELECT 'TRUNCATE' FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
  WHERE t.tgrelid = $1::oid AND t.tgname = 'waypost_capture_truncate' AND t.tgenabled = 'A' AND c.relhastriggers`;
