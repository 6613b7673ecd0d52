import type { CorpusTable } from './corpus-table.js';

/** Strings that every collation orders in another way than their bytes. */
const WORDS = `'a', 'B', 'b', 'A', 'é', 'e', 'z', 'Z', '_', '10', '9', 'ä', '😀', ' a', '', 'straße', 'strasse', 'co-op', 'coop', E'\\t'`;

/** Key types with values, as SQL. */
const KEYS: Record<string, { type: string; values: string; before?: string }> = {
  text: { type: 'text', values: WORDS },
  varchar: { type: 'varchar(20)', values: WORDS },
  char: { type: 'char(8)', values: WORDS.replace("'',", '') },
  name: { type: 'name', values: WORDS },
  icu_text: { type: 'text COLLATE "en-US-x-icu"', values: WORDS },
  nondeterministic: {
    type: 'text COLLATE loose',
    values: `'a', 'b', 'é', 'Z', '_', '9', '10'`,
    before: `CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
  },
  uuid: { type: 'uuid', values: `md5('1')::uuid, md5('2')::uuid, md5('3')::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'` },
  timestamptz: {
    type: 'timestamptz',
    values: `'2026-01-01 00:00:00.000001+00', '2026-01-01+00', 'infinity', '-infinity', '0044-03-15+00 BC'`,
  },
  timestamp: { type: 'timestamp', values: `'2026-01-01 00:00:00.000001', '2026-01-01', 'infinity', '0044-03-15 BC'` },
  date: { type: 'date', values: `'2026-01-01', 'infinity', '-infinity', '0044-03-15 BC'` },
  interval: { type: 'interval', values: `'1 day', '1 month', '-1 second', '25:00'` },
  numeric: { type: 'numeric', values: `1.0, 2.00, -3, 'NaN', 'Infinity', '-Infinity', 1e30, 0.000` },
  float: { type: 'float8', values: `'-0', 1.5, 'NaN', 'Infinity', '-Infinity', 5e-324` },
  bigint: { type: 'bigint', values: '-9223372036854775808, 9223372036854775807, 0, -1, 1' },
  bytea: { type: 'bytea', values: `'\\x', '\\x00', '\\xff', '\\x0a09'` },
  bool: { type: 'bool', values: 'true, false' },
  inet: { type: 'inet', values: `'10.0.0.1', '10.0.0.0/8', '::1', '2.0.0.0'` },
  macaddr: { type: 'macaddr', values: `'48:b0:2d:e9:c3:b7', '00:00:00:00:00:00'` },
  bits: { type: 'varbit', values: `'', '0', '1', '10', '01'` },
  int_array: { type: 'int[]', values: `'{1,2}', '{}', '{10}', '{2,NULL}'` },
  text_array: { type: 'text[]', values: `'{a,B}', '{}', '{b}', '{A}', '{é,NULL}'` },
  range: { type: 'tstzrange', values: `'[2026-01-01+00,2027-01-01+00)', 'empty', '(,)', '[2026-01-01+00,2026-02-01+00)'` },
  enumeration: { type: 'mark', values: `'so "so", {x}', 'yes', 'No'` },
  enum_array: { type: 'mark[]', values: `'{yes}', '{No,yes}', '{}'` },
  domain: { type: 'even', values: '10, 2, -4, 100' },
  text_domain: { type: 'word', values: WORDS.replace("'',", '') },
  citext: { type: 'citext', values: `'a', 'B', 'é', 'Z', '_', '9', '10', 'Ä', 'ß'` },
  jsonb: { type: 'jsonb', values: `'"a"', '"B"', '"b"', '{"a": 1.0}', '[]', 'null', '1.0', '2', '10', '{"é": "Z"}'` },
  composite: { type: 'pair', values: `'(a,1)', '(B,1)', '(b,2)', '(b,10)', '(é,)', '("x, ""y""",3)'` },
  word_range: { type: 'words', values: `'[A,a]', '[B,)', '(,b)', 'empty', '[a,a]'` },
};

/** One table per key type. Types whose order depends on the database's collation are among them. */
export const KEY_TABLES: CorpusTable[] = Object.entries(KEYS).map(([group, { type, values, before }]) => {
  const name = `key_${group}`;
  const list = values.split(/,\s+(?=(?:[^']*'[^']*')*[^']*$)/);
  return {
    name,
    create: `${before ? `${before};` : ''} CREATE TABLE ${name} (k ${type} PRIMARY KEY, v int);
      INSERT INTO ${name} VALUES ${list.map((value, at) => `(${value}, ${at})`).join(', ')}`,
    ...(before && { edge: before }),
    change: `DELETE FROM ${name} WHERE v = 0; UPDATE ${name} SET v = -1 WHERE v = 1`,
  };
});

export const COMPOSITE_KEYS: CorpusTable[] = [
  {
    name: 'key_of_four',
    create: `CREATE TABLE key_of_four (v text, d uuid, c timestamptz, b text, a int, PRIMARY KEY (b, a, d, c));
      INSERT INTO key_of_four SELECT 'v' || g, md5((g % 3)::text)::uuid, 'epoch'::timestamptz + g * interval '1 microsecond', chr(64 + g % 60), g % 7
      FROM generate_series(1, 2000) g`,
    change: `DELETE FROM key_of_four WHERE v = 'v7'; UPDATE key_of_four SET b = 'é' || b WHERE a = 3; INSERT INTO key_of_four VALUES (NULL, md5('x')::uuid, 'infinity', '', 0)`,
  },
  {
    name: 'only_keys',
    create:
      'CREATE TABLE only_keys (a int, b int, PRIMARY KEY (b, a)); INSERT INTO only_keys SELECT g, g % 5 FROM generate_series(1, 600) g',
    change: 'DELETE FROM only_keys WHERE b = 3; INSERT INTO only_keys VALUES (0, 0)',
  },
];
