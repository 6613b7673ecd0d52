import { quoteIdentifier } from '@waypost/contracts';

/** More keys than this are not listed: the whole table counts as changed. */
export const MAX_KEYS = 1000;

/** $1: tables. One row for each trigger of ours that is there and fires always, for replicated statements too. */
export const READ_TRIGGERS = `
  SELECT t.tgrelid::int8::text AS oid, count(*)::int AS triggers FROM pg_trigger t
  WHERE t.tgrelid = ANY($1::oid[]) AND t.tgname LIKE 'waypost\\_capture\\_%' AND t.tgenabled = 'A'
  GROUP BY t.tgrelid`;

/** The key's columns, in the order of the primary key. $1: a table's oid. */
export const READ_KEY = `
  SELECT coalesce(array_agg(a.attname::text ORDER BY k.position), '{}') AS key
  FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, position), pg_attribute a
  WHERE i.indrelid = $1::oid AND i.indisprimary AND k.position <= i.indnkeyatts AND a.attrelid = i.indrelid AND a.attnum = k.attnum`;

/** All tables that carry triggers of ours. */
export const READ_WATCHED = `
  SELECT DISTINCT t.tgrelid::int8::text AS oid, t.tgrelid::regclass::text AS name
  FROM pg_trigger t WHERE t.tgname LIKE 'waypost\\_capture\\_%' AND NOT t.tgisinternal ORDER BY 2`;

/** An operation of a trigger, with the rows that it can see. */
const OPERATIONS = {
  INSERT: { rows: ['new_rows'], referencing: 'REFERENCING NEW TABLE AS new_rows' },
  UPDATE: { rows: ['old_rows', 'new_rows'], referencing: 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows' },
  DELETE: { rows: ['old_rows'], referencing: 'REFERENCING OLD TABLE AS old_rows' },
  TRUNCATE: { rows: [], referencing: '' },
} as const;

type Operation = keyof typeof OPERATIONS;

const ALL_OPERATIONS = Object.keys(OPERATIONS) as Operation[];

/** One for each operation. */
export const TRIGGERS_PER_TABLE = ALL_OPERATIONS.length;

/**
 * The functions of one table's triggers, one for each operation: to ask which one it is took a tenth of the time. Whoever writes to the table needs no right on
 * schema waypost: a function runs as its owner, with a search path of its own. A statement that changed no row leaves nothing.
 */
export function createFunctions(oid: string, key: readonly string[]): string {
  const functions = ALL_OPERATIONS.map(
    (operation) => `
    CREATE OR REPLACE FUNCTION ${functionOf(oid, operation)} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $capture$
    BEGIN${recordOf(operation, oid, key)}
      RETURN NULL;
    END $capture$;
    REVOKE ALL ON FUNCTION ${functionOf(oid, operation)} FROM PUBLIC;`,
  );
  return functions.join('');
}

/** What a trigger does. Almost all statements change one row: those are recorded by one statement without aggregates, in two thirds of the time. */
function recordOf(operation: Operation, oid: string, key: readonly string[]): string {
  const { rows } = OPERATIONS[operation];
  const record = (keys: string, from = ''): string => `
      INSERT INTO waypost.changes (relation, operation, keys) SELECT ${oid}::oid, '${operation}', ${keys}${from}`;
  if (rows.length === 0) return `${record('NULL')};`;
  if (key.length === 0) return `${record('NULL', ` FROM ${rows[0]} LIMIT 1`)};`;
  const keyIn = (table: string): string => textOf(key.map((name) => `${table}.${quoteIdentifier(name)}`));
  const isOne = `NOT EXISTS (SELECT FROM ${rows[0]} OFFSET 1)`;
  const keysOfOne =
    operation === 'UPDATE'
      ? `CASE WHEN ${keyIn('old_rows')} COLLATE "C" = ${keyIn('new_rows')} COLLATE "C" THEN ARRAY[${keyIn('new_rows')}]
             ELSE ARRAY[${keyIn('old_rows')}, ${keyIn('new_rows')}] END`
      : `ARRAY[${keyIn(rows[0])}]`;
  // Bounded before anything is compared: a statement may change millions of rows.
  const all = rows.map((table) => `(SELECT ${keyIn(table)} AS key FROM ${table} LIMIT ${MAX_KEYS + 1})`).join(' UNION ');
  return `${record(keysOfOne, ` FROM ${rows.join(', ')} WHERE ${isOne}`)};
      IF FOUND THEN RETURN NULL; END IF;${record(
        `CASE WHEN count(*) <= ${MAX_KEYS} THEN array_agg(key) END`,
        ` FROM (${all}) AS changed HAVING count(*) > 0`,
      )};`;
}

/** One column as it is: to print a record took as long as all else that the trigger does. */
function textOf(columns: readonly string[]): string {
  return columns.length === 1 ? `${columns[0]}::text` : `ROW(${columns.join(', ')})::text`;
}

/** Replaces those that are there. */
export function createTriggers(oid: string, table: string): string {
  const triggers = ALL_OPERATIONS.map(
    (operation) => `
    CREATE OR REPLACE TRIGGER ${triggerOf(operation)} AFTER ${operation} ON ${table} ${OPERATIONS[operation].referencing}
      FOR EACH STATEMENT EXECUTE FUNCTION ${functionOf(oid, operation)};
    ALTER TABLE ${table} ENABLE ALWAYS TRIGGER ${triggerOf(operation)};`,
  );
  return triggers.join('');
}

export function dropTriggers(oid: string, table: string): string {
  const drops = ALL_OPERATIONS.map(
    (operation) => `DROP TRIGGER IF EXISTS ${triggerOf(operation)} ON ${table}; DROP FUNCTION IF EXISTS ${functionOf(oid, operation)};`,
  );
  return drops.join('\n');
}

function functionOf(oid: string, operation: Operation): string {
  return `waypost.capture_${oid}_${operation.toLowerCase()}()`;
}

function triggerOf(operation: Operation): string {
  return `waypost_capture_${operation.toLowerCase()}`;
}
