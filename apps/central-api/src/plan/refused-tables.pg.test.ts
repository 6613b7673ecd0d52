import { createPool } from '@waypost/runtime';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { runSql } from '../../testing/sql.js';
import { checkPlan } from './check-plan.js';
import { explainPlan } from './explain-plan.js';
import { parsePlan } from './read-plan.js';

const SCHEMA = `
  CREATE EXTENSION citext;
  CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;
  CREATE FOREIGN TABLE remote (id int) SERVER elsewhere;
  CREATE UNLOGGED TABLE volatile (id int PRIMARY KEY);
  CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY LIST (id);
  CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
  CREATE UNLOGGED TABLE "Parts 2" PARTITION OF parts FOR VALUES IN (2);
  CREATE TABLE family (id int PRIMARY KEY);
  CREATE FOREIGN TABLE remote_child () INHERITS (family) SERVER elsewhere;
  CREATE TABLE computed (a int GENERATED ALWAYS AS (1 + 1) STORED);
  CREATE TABLE computed_key (a int, b int GENERATED ALWAYS AS (a + 1) STORED PRIMARY KEY);
  CREATE MATERIALIZED VIEW unfilled AS SELECT 1 AS id WITH NO DATA;
  CREATE TABLE trees (id int PRIMARY KEY, tree pg_node_tree, facts pg_mcv_list);
  CREATE TYPE with_tree AS (n int, tree pg_ndistinct);
  CREATE TABLE hidden_trees (id int PRIMARY KEY, t with_tree[]);
  CREATE TABLE row_types (id int PRIMARY KEY, of family);
  CREATE TABLE points (p point, j json, x xml);
  CREATE TABLE loose (a int, b int UNIQUE, c citext, UNIQUE (a));
  CREATE UNIQUE INDEX partial ON loose (c) WHERE b > 0;
  CREATE TABLE secured (id int PRIMARY KEY); ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
  CREATE ROLE reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader`;

let server: TestServer;
let url: string;
let pool: pg.Pool;

beforeAll(async () => {
  server = await startTestServer();
  ({ url } = await server.createDatabase('plan'));
  await runSql(url, SCHEMA);
  pool = createPool({ url, applicationName: 'test', maxConnections: 1, onIdleError: () => undefined });
});

afterAll(async () => {
  await pool?.end();
  await server?.[Symbol.asyncDispose]();
});

function planWith(tables: string) {
  return parsePlan('p.yaml', `version: 1\nschemaVersion: 1\nscope: { query: "SELECT 1 AS x WHERE :mac <> ''" }\ntables:\n${tables}`);
}

async function faultOf(tables: string): Promise<string> {
  const error: unknown = await checkPlan(pool, planWith(tables)).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ code: 'PLAN_INVALID' });
  return (error as Error).message;
}

test.each([
  ['a foreign table', 'remote\n    key: [id]', 'table remote is foreign'],
  ['an unlogged table', 'volatile', 'table volatile is unlogged: a crash of central would empty it'],
  ['a table with an unlogged partition', 'parts', 'foreign, unlogged or temporary: public."Parts 2"'],
  ['a table with a foreign heir', 'family', 'foreign, unlogged or temporary: public.remote_child'],
  ['a table of generated columns', 'computed\n    key: [a]', 'table computed has no columns but generated ones'],
  ['a generated key', 'computed_key', 'key column "b" of computed_key is generated'],
  ['a materialized view without rows', 'unfilled\n    key: [id]', 'materialized view unfilled was never filled'],
  ['a system catalog', 'pg_catalog.pg_class', 'pg_catalog.pg_class belongs to schema pg_catalog'],
  ['a view of the system', 'information_schema.tables', 'belongs to schema information_schema'],
  [
    'a type that PostgreSQL does not take',
    'trees',
    'column "tree" of trees cannot be mirrored: PostgreSQL takes no values of type pg_node_tree',
  ],
  ['another such type', 'trees', 'column "facts" of trees cannot be mirrored: PostgreSQL takes no values of type pg_mcv_list'],
  [
    'a composite with such a type',
    'hidden_trees',
    'column "t" of hidden_trees cannot be mirrored: PostgreSQL takes no values of type pg_ndistinct',
  ],
  ['the row type of a table', 'row_types', 'public.family is the row type of a table'],
  ['a key of points', 'points\n    key: [p]', 'could not identify an ordering operator for type point'],
  ['a key of json', 'points\n    key: [j]', 'could not identify an ordering operator for type json'],
  ['a key of xml', 'points\n    key: [x]', 'could not identify an ordering operator for type xml'],
])('%s is refused, with the reason', async (_, table, reason) => {
  const fault = await faultOf(`  - name: ${table}`);
  expect(fault).toContain(reason);
  expect(fault).toMatch(/^p\.yaml:[56]: /);
});

test('the line of a column that cannot be mirrored is named, and without it the table can be', async () => {
  expect(await faultOf('  - name: trees\n    columns:\n      - id\n      - tree')).toMatch(/^p\.yaml:8: column "tree" of trees/);
  await checkPlan(pool, planWith('  - name: trees\n    columns: [id]'));
});

test('a temporary table is refused', async () => {
  const session = new pg.Client({ connectionString: url });
  await session.connect();
  await session.query('CREATE TEMPORARY TABLE passing (id int PRIMARY KEY)');
  const { rows } = await session.query<{ schema: string }>(
    "SELECT relnamespace::regnamespace::text AS schema FROM pg_class WHERE relname = 'passing'",
  );
  expect(await faultOf(`  - name: ${rows[0]?.schema}.passing`)).toContain('is temporary: no other session sees its rows');
  await session.end();
});

test('rows that a policy hides from central’s role are refused rather than left out', async () => {
  await pool.query('SET ROLE reader');
  expect(await faultOf('  - name: secured')).toContain('row-level security policy for table "secured"');
  await pool.query('RESET ROLE');
});

test('an explanation tells which keys are guarded by a unique index over NOT NULL columns', async () => {
  await pool.query(
    'CREATE TABLE guarded (a int NOT NULL, b int, c text NOT NULL, UNIQUE (a)); CREATE UNIQUE INDEX ON guarded (c) WHERE a > 0',
  );
  const keys = {
    'guarded, [a]': true,
    'guarded, [a, c]': true,
    'guarded, [c]': false,
    'guarded, [a, b]': false,
    'loose, [b]': false,
    'loose, [c]': false,
  };
  for (const [table, keyIsProven] of Object.entries(keys)) {
    const plan = await checkPlan(pool, planWith(`  - { name: ${table.replace(',', ', key:')} }`));
    expect({ table, explained: await explainPlan(pool, plan) }).toMatchObject({ table, explained: [{ keyIsProven }] });
  }
});

test('a query that joins an unlogged table, or reads a partition that is one, is refused with its line', async () => {
  const tables = `  - name: loose
    columns: [a]
    key: [a]
    where: |
      b > 0 AND EXISTS (SELECT FROM volatile WHERE id = a)`;
  expect(await faultOf(tables)).toMatch(/^p\.yaml:5: public\.volatile, which this reads, is unlogged/);
});

test('a role that may not make temporary views gets no plan: what queries only join could not be locked', async () => {
  const keyed = '  - name: loose\n    columns: [a]\n    key: [a]';
  await runSql(url, 'CREATE ROLE bare; GRANT USAGE ON SCHEMA public TO bare; GRANT SELECT ON ALL TABLES IN SCHEMA public TO bare');
  await onDatabase('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC');
  const own = createPool({ url, applicationName: 'test', maxConnections: 1, onIdleError: () => undefined });
  try {
    await own.query('SET ROLE bare');
    await expect(checkPlan(own, planWith(keyed))).rejects.toMatchObject({
      code: 'DATABASE_RIGHTS_MISSING',
      hint: expect.stringMatching(/^Run: GRANT TEMPORARY ON DATABASE plan_\w+ TO bare$/) as unknown,
    });
    await onDatabase('GRANT TEMPORARY ON DATABASE %I TO bare');
    expect((await checkPlan(own, planWith(keyed))).reads).toEqual(['public.loose']);
  } finally {
    await own.end();
    await onDatabase('GRANT TEMPORARY ON DATABASE %I TO PUBLIC');
  }
});

async function onDatabase(statement: string): Promise<void> {
  await runSql(url, `DO $$ BEGIN EXECUTE format('${statement}', current_database()); END $$`);
}
