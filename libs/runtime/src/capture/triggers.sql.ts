import { quoteIdentifier, sha256Hex } from '@waypost/contracts';

/** More keys than this are not listed: the whole table counts as changed. */
const MAX_KEYS = 1000;

/** The search path of the trigger functions, independent of the writer. */
const SEARCH_PATH = 'pg_catalog, pg_temp';

/** Of a function p in language l: declared as ours are. */
export const RUNS_AS_OWNER = `l.lanname = 'plpgsql' AND p.prosecdef AND p.proconfig IS NOT DISTINCT FROM ARRAY['search_path=${SEARCH_PATH}']`;

/** Of a function p: its owner may record changes. */
export const MAY_RECORD = `coalesce(has_schema_privilege(p.proowner, to_regnamespace('waypost'), 'USAGE')
    AND has_table_privilege(p.proowner, to_regclass('waypost.changes'), 'INSERT'), false)`;

/**
 * The triggers write with the rights of who installs them. Where those come from being a member of the service's role, they are given by name as well: else
 * every write of the application would fail on the day the membership ends.
 */
export const KEEP_RIGHT_TO_RECORD = `
  DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.rolname = current_user
               WHERE c.oid = to_regclass('waypost.changes') AND NOT r.rolsuper AND r.oid NOT IN (c.relowner, n.nspowner)
                 AND pg_has_role(c.relowner, 'USAGE') AND pg_has_role(n.nspowner, 'USAGE')) THEN
      GRANT USAGE ON SCHEMA waypost TO CURRENT_USER;
      GRANT INSERT ON waypost.changes TO CURRENT_USER;
    END IF;
  END $$`;

/** An operation of a trigger, with the rows that it can see. `type` is pg_trigger.tgtype of an AFTER trigger for each statement. */
const OPERATIONS = {
  INSERT: { type: 4, rows: ['new_rows'], referencing: 'REFERENCING NEW TABLE AS new_rows' },
  UPDATE: { type: 16, rows: ['old_rows', 'new_rows'], referencing: 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows' },
  DELETE: { type: 8, rows: ['old_rows'], referencing: 'REFERENCING OLD TABLE AS old_rows' },
  TRUNCATE: { type: 32, rows: [], referencing: '' },
} as const;

type Operation = keyof typeof OPERATIONS;

const ALL_OPERATIONS = Object.keys(OPERATIONS) as Operation[];

const NAME_HASH_LENGTH = 16;

/** A trigger as it must be, and the function that it calls. */
export interface CaptureTrigger {
  operation: Operation;
  name: string;
  /** pg_trigger.tgtype. */
  type: number;
  oldTable: string;
  newTable: string;
  referencing: string;
  /** In schema waypost. It names its own body: tables whose keys have equal names share it, and it is right in any database that it is restored into. */
  function: string;
  body: string;
}

/** The triggers of a table, one for each operation. @param key columns of its primary key, or none */
export function captureTriggers(key: readonly string[]): CaptureTrigger[] {
  return ALL_OPERATIONS.map((operation) => {
    const { type, rows, referencing } = OPERATIONS[operation];
    const [body, suffix] = [bodyOf(operation, key), operation.toLowerCase()];
    return {
      operation,
      name: `waypost_capture_${suffix}`,
      type,
      oldTable: rows.find((name) => name === 'old_rows') ?? '',
      newTable: rows.find((name) => name === 'new_rows') ?? '',
      referencing,
      function: `capture_${suffix}_${sha256Hex(body).slice(0, NAME_HASH_LENGTH)}`,
      body,
    };
  });
}

/**
 * What a trigger does. Almost all statements change one row: those are recorded by one statement without aggregates, in two thirds of the time. A
 * statement that changed no row leaves nothing, unless the canary asks for it.
 */
function bodyOf(operation: Operation, key: readonly string[]): string {
  const { rows } = OPERATIONS[operation];
  const record = (keys: string, from = ''): string => `
  INSERT INTO waypost.changes (relation, operation, keys) SELECT TG_RELID, '${operation}', ${keys}${from};`;
  const finish = `
  RETURN NULL;
END `;
  if (rows.length === 0)
    return `
BEGIN${record('NULL')}${finish}`;
  const canary = `
  IF FOUND THEN RETURN NULL; END IF;
  IF current_setting('waypost.canary', true) = 'on' THEN${record('NULL')}
  END IF;`;
  if (key.length === 0)
    return `
BEGIN${record('NULL', ` FROM ${rows[0]} LIMIT 1`)}${canary}${finish}`;
  const keyIn = (table: string): string => textOf(key.map((name) => `${table}.${quoteIdentifier(name)}`));
  const isOne = `NOT EXISTS (SELECT FROM ${rows[0]} OFFSET 1)`;
  const keysOfOne =
    operation === 'UPDATE'
      ? `CASE WHEN ${keyIn('old_rows')} COLLATE "C" = ${keyIn('new_rows')} COLLATE "C" THEN ARRAY[${keyIn('new_rows')}]
         ELSE ARRAY[${keyIn('old_rows')}, ${keyIn('new_rows')}] END`
      : `ARRAY[${keyIn(rows[0])}]`;
  // Bounded before anything is compared: a statement may change millions of rows.
  const all = rows.map((table) => `(SELECT ${keyIn(table)} AS key FROM ${table} LIMIT ${MAX_KEYS + 1})`).join(' UNION ');
  const keysOfAll = `CASE WHEN count(*) <= ${MAX_KEYS} THEN array_agg(key) END`;
  return `
BEGIN${record(keysOfOne, ` FROM ${rows.join(', ')} WHERE ${isOne}`)}
  IF FOUND THEN RETURN NULL; END IF;${record(keysOfAll, ` FROM (${all}) AS changed HAVING count(*) > 0`)}${canary}${finish}`;
}

/** One column as it is: to print a record took as long as all else that the trigger does. */
function textOf(columns: readonly string[]): string {
  return columns.length === 1 ? `${columns[0]}::text` : `ROW(${columns.join(', ')})::text`;
}

/**
 * A function of its own for each operation: to ask which one it is took a tenth of the time. Who writes to a table needs no right on schema waypost:
 * a function runs as its owner.
 */
export function createFunction({ function: name, body }: CaptureTrigger): string {
  return `
    CREATE OR REPLACE FUNCTION waypost.${name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = ${SEARCH_PATH} AS $capture$${body}$capture$;
    ALTER FUNCTION waypost.${name}() OWNER TO CURRENT_USER;
    REVOKE ALL ON FUNCTION waypost.${name}() FROM PUBLIC;`;
}

/** Replaces one that is there. @param table as SQL writes it */
export function createTrigger(table: string, { name, operation, referencing, function: called }: CaptureTrigger): string {
  return `
    CREATE OR REPLACE TRIGGER ${name} AFTER ${operation} ON ${table} ${referencing} FOR EACH STATEMENT EXECUTE FUNCTION waypost.${called}();
    ALTER TABLE ${table} ENABLE ALWAYS TRIGGER ${name};`;
}

/** @param table as SQL writes it */
export function dropTriggers(table: string): string {
  return captureTriggers([])
    .map(({ name }) => `DROP TRIGGER IF EXISTS ${name} ON ${table};`)
    .join('\n');
}

/** $1: oids of tables. Columns of their primary keys, in its order. */
export const READ_KEYS = `
  SELECT c.oid::int8::text AS oid, coalesce((
           SELECT array_agg(a.attname::text ORDER BY k.position)
           FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, position), pg_attribute a
           WHERE i.indrelid = c.oid AND i.indisprimary AND k.position <= i.indnkeyatts AND a.attrelid = c.oid AND a.attnum = k.attnum), '{}') AS key
  FROM pg_class c WHERE c.oid = ANY($1::oid[])`;

/** All tables that carry triggers of ours. */
export const READ_WATCHED = `
  SELECT DISTINCT t.tgrelid::int8::text AS oid, t.tgrelid::regclass::text AS name
  FROM pg_trigger t WHERE t.tgname LIKE 'waypost\\_capture\\_%' AND NOT t.tgisinternal ORDER BY 2`;

/** $1: name, $2: body of a function of ours. One row where it is there, is right, and this role may use it. */
export const READ_FUNCTION_PRESENT = `
  SELECT FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
  WHERE p.pronamespace = to_regnamespace('waypost') AND p.proname = $1 AND p.pronargs = 0 AND p.prosrc = $2 AND ${RUNS_AS_OWNER} AND ${MAY_RECORD}
    AND has_function_privilege(p.oid, 'EXECUTE')`;

/** Our functions that no trigger calls any more and that this role may drop; those of earlier versions among them. */
export const READ_UNUSED_FUNCTIONS = `
  SELECT p.oid::regprocedure::text AS name FROM pg_proc p
  WHERE p.pronamespace = to_regnamespace('waypost') AND p.proname ~ '^capture_' AND p.prorettype = 'trigger'::regtype
    AND pg_has_role(p.proowner, 'USAGE') AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = p.oid)`;
