import fc from 'fast-check';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';

const MAC = '02:00:00:00:00:01';
const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: |
    SELECT id AS device_id, name AS "Größe; DROP", u, t, i, ts, m, b, texts, nothing
    FROM devices WHERE mac = :mac -- who asks
tables:
  - { name: by_text, where: 'v = :t' }
  - { name: by_uuid, where: 'v = :u' }
  - { name: by_int, where: 'v = :i' }
  - { name: by_time, where: 'v <= :ts' }
  - { name: by_enum, where: 'v = :m' }
  - { name: by_bytes, where: 'v = :b' }
  - { name: by_array, where: 'v = ANY (:texts)' }
  - { name: by_null, where: 'v IS NOT DISTINCT FROM :nothing' }
`;
const SCHEMA = `
  CREATE TYPE mood AS ENUM ('good', 'it''s "bad"');
  CREATE TABLE devices (mac macaddr PRIMARY KEY, id uuid, name text, u uuid, t text, i int, ts timestamptz, m mood, b bytea, texts text[], nothing int);
  CREATE TABLE by_text (id serial PRIMARY KEY, v text);
  CREATE TABLE by_uuid (id serial PRIMARY KEY, v uuid);
  CREATE TABLE by_int (id serial PRIMARY KEY, v int);
  CREATE TABLE by_time (id serial PRIMARY KEY, v timestamptz);
  CREATE TABLE by_enum (id serial PRIMARY KEY, v mood);
  CREATE TABLE by_bytes (id serial PRIMARY KEY, v bytea);
  CREATE TABLE by_array (id serial PRIMARY KEY, v text);
  CREATE TABLE by_null (id serial PRIMARY KEY, v int);
  INSERT INTO devices (mac, id) VALUES ('${MAC}', '01234567-89ab-cdef-0123-456789abcdef');
  INSERT INTO by_text (v) VALUES ('decoy'), (NULL);
  INSERT INTO by_uuid (v) VALUES ('00000000-0000-0000-0000-000000000001'), ('00000000-0000-0000-0000-000000000002');
  INSERT INTO by_int (v) VALUES (-5), (5), (50);
  INSERT INTO by_time (v) VALUES ('2026-01-01 00:00:00.000001+00'), ('2026-01-01 00:00:00.000002+00');
  INSERT INTO by_enum (v) VALUES ('good'), ('it''s "bad"');
  INSERT INTO by_bytes (v) VALUES ('\\x00ff27'), ('\\x');
  INSERT INTO by_array (v) VALUES ('a,b'), ('"'), ('NULL'), ('c');
  INSERT INTO by_null (v) VALUES (NULL), (1);`;

let server: TestServer;
let central: OwnCentral;

beforeAll(async () => {
  server = await startTestServer();
  central = await startOwnCentral({ server, schema: SCHEMA, plan: PLAN });
});

afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

async function rowsPerTable(): Promise<Record<string, number>> {
  const { tables } = await central.manifestFor(MAC);
  return Object.fromEntries(tables.map(({ name, rowCount }) => [name, rowCount]));
}

test('a parameter of any type compares as its own type does', async () => {
  await central.sql(
    `UPDATE devices SET u = '00000000-0000-0000-0000-000000000002', t = 'decoy', i = -5, ts = '2026-01-01 01:00:00.000001+01',
       m = 'it''s "bad"', b = '\\x00ff27', texts = ARRAY['a,b', '"', 'NULL', NULL], nothing = NULL`,
  );
  expect(await rowsPerTable()).toEqual({ by_text: 1, by_uuid: 1, by_int: 1, by_time: 1, by_enum: 1, by_bytes: 1, by_array: 3, by_null: 1 });
  const { device, filters } = await central.manifestFor(MAC);
  expect(device.id).toBe('01234567-89ab-cdef-0123-456789abcdef');
  expect(filters).toMatchObject({ i: '-5', ts: '2026-01-01 00:00:00.000001+00', m: 'it\'s "bad"', b: '\\x00ff27', nothing: null });
});

test('a parameter that is NULL is NULL, not a text', async () => {
  await central.sql('UPDATE devices SET u = NULL, t = NULL, i = NULL, ts = NULL, m = NULL, b = NULL, texts = NULL');
  expect(await rowsPerTable()).toEqual({ by_text: 0, by_uuid: 0, by_int: 0, by_time: 0, by_enum: 0, by_bytes: 0, by_array: 0, by_null: 1 });
});

test('an empty text is a text', async () => {
  await central.sql(`INSERT INTO by_text (v) VALUES (''); UPDATE devices SET t = ''`);
  expect((await rowsPerTable())['by_text']).toBe(1);
});

const NASTY = [
  "'",
  "''",
  '"',
  ';',
  '--',
  '/*',
  '$$',
  '$1',
  ':t',
  ':x',
  '\\',
  '\\.',
  "\\'",
  '\n',
  '\r\n',
  '\t',
  '%s',
  'é',
  '😀',
  ')',
  'DROP TABLE by_text',
  "E'",
];

test('whatever a text parameter holds is data', async () => {
  await central.sql('DELETE FROM by_text WHERE v IS NOT NULL');
  const anyText = fc.oneof(
    fc.array(fc.constantFrom(...NASTY), { maxLength: 8 }).map((parts) => parts.join('')),
    fc.string({ unit: 'binary' }),
  );
  await fc.assert(
    fc.asyncProperty(anyText, async (value) => {
      fc.pre(!value.includes('\0') && value.isWellFormed());
      await central.sql(`WITH changed AS (UPDATE devices SET t = $1, name = $1) INSERT INTO by_text (v) VALUES ($1)`, [value]);
      const { tables, filters } = await central.manifestFor(MAC);
      expect(filters).toMatchObject({ t: value, 'Größe; DROP': value });
      expect(tables[0]?.rowCount).toBe(1);
      await central.sql('DELETE FROM by_text WHERE v = $1', [value]);
      expect(await central.sql('SELECT count(*)::int AS n FROM by_text WHERE v IS NULL')).toEqual([{ n: 1 }]);
    }),
    { numRuns: 40 },
  );
});
