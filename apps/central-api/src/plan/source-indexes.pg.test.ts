import { createPool } from '@waypost/runtime';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { installCapture } from '../../testing/capture.js';
import { startOwnCentral } from '../../testing/own-central.js';
import { checkPlan } from './check-plan.js';
import { describeExplanation } from './describe-explanation.js';
import { explainPlan } from './explain-plan.js';
import { parsePlan } from './read-plan.js';

const MAC = '02:00:00:00:00:01';
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY);
  INSERT INTO devices VALUES ('${MAC}');
  CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TYPE other AS ENUM ('x');
  CREATE FUNCTION own(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
  CREATE EXTENSION btree_gist;
  CREATE COLLATION ours (provider = libc, locale = 'C');
  CREATE OPERATOR CLASS own_ops FOR TYPE int4 USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(int4, int4);
  CREATE TABLE users (id int PRIMARY KEY, name text, email text UNIQUE DEFERRABLE, secret text, mood mood, tags text[], at tsrange, since date);
  INSERT INTO users SELECT g, 'n' || g FROM generate_series(1, 20) g;
  CREATE INDEX a_plain ON users (name);
  CREATE UNIQUE INDEX b_unique ON users (name, id DESC, since NULLS FIRST) INCLUDE (email);
  CREATE INDEX c_expression ON users (lower(name), (name || 'x') COLLATE "C" text_pattern_ops) WHERE email IS NOT NULL AND mood = 'good';
  CREATE INDEX d_gin ON users USING gin (tags);
  CREATE INDEX e_gist ON users USING gist (at);
  CREATE INDEX f_brin ON users USING brin (since);
  CREATE INDEX g_hash ON users USING hash (mood);
  CREATE UNIQUE INDEX k_key ON users (id);
  CREATE INDEX n_column ON users (secret);
  CREATE INDEX n_include ON users (name) INCLUDE (secret);
  CREATE INDEX n_predicate ON users (name) WHERE secret <> '';
  CREATE INDEX n_function ON users (own(name));
  CREATE INDEX n_opclass ON users (id own_ops);
  CREATE INDEX n_collation ON users (name COLLATE ours);
  CREATE INDEX n_extension ON users USING gist (since);
  CREATE INDEX n_type ON users (name) WHERE 'x'::other = 'x'::other;
  ALTER TABLE users ADD CONSTRAINT n_exclusion EXCLUDE USING gist (at WITH &&);
  UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'f_brin'::regclass;
  CREATE TABLE days (day date, n int, PRIMARY KEY (day, n)) PARTITION BY RANGE (day);
  CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
  CREATE INDEX days_n ON days (n);
  CREATE INDEX days_1_only ON days_1 (n, day);`;
const PLAN = `
version: 1
schemaVersion: 1
changes: triggers
scope:
  query: SELECT 1 AS one FROM devices WHERE mac = :mac
tables:
  - name: users
    columns: [id, name, email, mood, tags, at, since]
  - name: days
`;

let server: TestServer;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

test('a manifest names the secondary indexes that a device can have', async () => {
  await using central = await startOwnCentral({ server, schema: SCHEMA, plan: PLAN });
  const { tables } = await central.manifestFor(MAC);
  const text = { operatorClass: 'text_ops' };
  expect(tables[0]?.indexes).toEqual([
    { name: 'a_plain', method: 'btree', keys: [{ column: 'name', ...text }] },
    {
      name: 'b_unique',
      method: 'btree',
      keys: [
        { column: 'name', ...text },
        { column: 'id', operatorClass: 'int4_ops', descending: true },
        { column: 'since', operatorClass: 'date_ops', nulls: 'first' },
      ],
      include: ['email'],
    },
    {
      name: 'c_expression',
      method: 'btree',
      keys: [
        { expression: 'lower(name)', ...text },
        { expression: "((name || 'x'::text))", collation: 'C', operatorClass: 'text_pattern_ops' },
      ],
      predicate: "((email IS NOT NULL) AND (mood = 'good'::public.mood))",
    },
    { name: 'd_gin', method: 'gin', keys: [{ column: 'tags', operatorClass: 'array_ops' }] },
    { name: 'e_gist', method: 'gist', keys: [{ column: 'at', operatorClass: 'range_ops' }] },
    { name: 'g_hash', method: 'hash', keys: [{ column: 'mood', operatorClass: 'enum_ops' }] },
    { name: 'users_email_key', method: 'btree', keys: [{ column: 'email', ...text }] },
  ]);
  expect(tables[1]?.indexes).toEqual([{ name: 'days_n', method: 'btree', keys: [{ column: 'n', operatorClass: 'int4_ops' }] }]);
});

test.each([
  ['for all tables', 'indexes: none\n', ''],
  ['for one table', '', '    indexes: none\n'],
  ['for all but one', 'indexes: none\n', '    indexes: none\n  - name: days\n    indexes: mirror\n'],
])('`indexes: none` %s', async (_, ofPlan, ofUsers) => {
  const plan = `version: 1\nschemaVersion: 1\n${ofPlan}scope:\n  query: SELECT 1 AS one FROM devices WHERE mac = :mac\ntables:\n  - name: users\n${ofUsers}`;
  await using central = await startOwnCentral({ server, schema: SCHEMA, plan });
  const { tables } = await central.manifestFor(MAC);
  expect(tables[0]).not.toHaveProperty('indexes');
  expect(tables[1]?.indexes?.length).toBe(ofUsers.includes('days') ? 1 : undefined);
});

test('plan:check says which are mirrored, and why others are not', async () => {
  await using central = await startOwnCentral({ server, schema: SCHEMA, plan: PLAN });
  const pool = createPool({ url: central.databaseUrl, applicationName: 'test', maxConnections: 1, onIdleError: () => undefined });
  try {
    const [users] = await explainPlan(pool, await checkPlan(pool, parsePlan('plan.yaml', PLAN)));
    const lines = describeExplanation(users!, { reads: 'chunks', because: null })
      .split('\n')
      .filter((line) => line.startsWith('  indexes '));
    expect(lines).toEqual([
      '  indexes    a_plain, b_unique, c_expression, d_gin, e_gist, g_hash, users_email_key; not ' +
        [
          'f_brin (it is not valid)',
          'n_collation (collation public.ours is not PostgreSQL’s own)',
          'n_column (column secret is not mirrored)',
          'n_exclusion (it is an exclusion constraint)',
          'n_extension (operator class public.gist_date_ops for access method gist is not PostgreSQL’s own)',
          'n_function (function public.own(text) is not PostgreSQL’s own)',
          'n_include (column secret is not mirrored)',
          'n_opclass (operator class public.own_ops for access method btree is not PostgreSQL’s own)',
          'n_predicate (column secret is not mirrored)',
          'n_type (it names a type that no mirrored column has)',
        ].join(', '),
    ]);
  } finally {
    await pool.end();
  }
});

test('where changes are captured a new index makes a new manifest with the same rows; what only rebuilds one does not', async () => {
  await using central = await startOwnCentral({ server, schema: SCHEMA, plan: PLAN });
  await installCapture(central.databaseUrl, PLAN);
  const first = await central.manifestFor(MAC);
  const isGivenUnread = async () =>
    (await central.poll(first)).manifestId === first.manifestId && (await central.audit(1))[0]?.reason === 'unchanged';
  expect(await isGivenUnread()).toBe(true);
  await central.sql('REINDEX INDEX CONCURRENTLY a_plain');
  await central.sql('VACUUM users');
  expect(await isGivenUnread()).toBe(true);
  await central.sql('CREATE INDEX z_new ON users (email, name)');
  const second = await central.poll(first);
  expect(second.tables[0]?.indexes?.map(({ name }) => name)).toContain('z_new');
  expect(second.tables.map(({ sha256 }) => sha256)).toEqual(first.tables.map(({ sha256 }) => sha256));
  await central.sql('DROP INDEX z_new');
  const third = await central.poll(second);
  expect(third.tables).toEqual(first.tables);
});
