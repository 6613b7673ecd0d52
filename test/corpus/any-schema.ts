import { BUILT_IN_TYPES, OBJECT_NAMES } from './built-in-types.js';
import type { CorpusTable } from './corpus-table.js';
import { IDENTIFIERS } from './identifiers.js';
import { COMPOSITE_KEYS, KEY_TABLES } from './keys.js';
import { STRUCTURES } from './structures.js';
import { CENTRAL_TYPES, EDGE_TYPES, USER_TYPES } from './user-types.js';

/** In the plan's order. */
export const CORPUS: readonly CorpusTable[] = [
  ...BUILT_IN_TYPES,
  OBJECT_NAMES,
  ...USER_TYPES,
  ...IDENTIFIERS,
  ...KEY_TABLES,
  ...COMPOSITE_KEYS,
  ...STRUCTURES,
];

/** Scripts, each a transaction of its own. */
export const FILL_CENTRAL: readonly string[] = [CENTRAL_TYPES, ...CORPUS.map(({ create }) => create)];
export const PREPARE_EDGE: readonly string[] = [EDGE_TYPES, ...CORPUS.flatMap(({ edge }) => edge ?? [])];
export const CHANGE_CENTRAL: readonly string[] = CORPUS.map(({ change }) => change);

/** Settings that decide how values are printed and read, each with an unusual value: for every new session of a database. */
export const ODD_SETTINGS = `DO $$ DECLARE setting text; BEGIN
  FOREACH setting IN ARRAY ARRAY['DateStyle = German', 'TimeZone = ''Asia/Kathmandu''', 'IntervalStyle = iso_8601', 'extra_float_digits = -5',
    'bytea_output = escape', 'xmloption = document', 'array_nulls = off', 'quote_all_identifiers = on']
  LOOP EXECUTE format('ALTER DATABASE %I SET %s', current_database(), setting); END LOOP;
END $$`;

/** A plan for all of it, and for the one device that asks. */
export function planOf(tables: readonly Pick<CorpusTable, 'name' | 'key'>[], query = "SELECT 1 AS one WHERE :mac <> ''"): string {
  return JSON.stringify({
    version: 1,
    schemaVersion: 1,
    scope: { query },
    tables: tables.map(({ name, key }) => ({ name, ...(key && { key }) })),
  });
}
