import { createPool } from '@waypost/runtime';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { runSql } from '../../testing/sql.js';
import { checkPlan } from '../plan/check-plan.js';
import { parsePlan } from '../plan/read-plan.js';
import type { ChangeCost } from '../plan/describe-explanation.js';
import { findChangeCosts } from './change-costs.js';

let server: TestServer;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

/** Of the first table of a plan. @param table as a line of the plan */
async function costOf(schema: string, table: string, changes = 'triggers'): Promise<ChangeCost> {
  const { url } = await server.createDatabase('costs');
  await runSql(url, `CREATE TABLE devices (mac macaddr PRIMARY KEY, site int); ${schema}`);
  const pool = createPool({ url, applicationName: 'test', maxConnections: 1, onIdleError: () => undefined });
  try {
    const text = `version: 1\nschemaVersion: 1\nchanges: ${changes}\nscope: { query: "SELECT site FROM devices WHERE mac = :mac" }\ntables:\n  - ${table}\n`;
    const plan = await checkPlan(pool, parsePlan('plan.yaml', text));
    return [...(await findChangeCosts(pool, plan)).values()][0] as ChangeCost;
  } finally {
    await pool.end();
  }
}

const T = 'CREATE TABLE t (id int PRIMARY KEY, v int, site int)';

test.each([
  ['a plain table', T, '{ name: t, where: "site = :site" }'],
  [
    'a table that joins another one',
    `${T}; CREATE TABLE u (id int PRIMARY KEY)`,
    '{ name: t, where: "EXISTS (SELECT FROM u WHERE u.id = t.v)" }',
  ],
  [
    'a partitioned table',
    'CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9)',
    '{ name: t }',
  ],
  [
    'a partition',
    'CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE t PARTITION OF p FOR VALUES FROM (0) TO (9)',
    '{ name: t }',
  ],
  ['a uuid and a text by bytes', 'CREATE TABLE t (a uuid, b varchar(9) COLLATE "C", PRIMARY KEY (a, b))', '{ name: t }'],
  ['an enum', "CREATE TYPE e AS ENUM ('b', 'a'); CREATE TABLE t (id e PRIMARY KEY)", '{ name: t }'],
])('%s: a change costs chunks', async (_, schema, table) => {
  expect(await costOf(schema, table)).toEqual({ reads: 'chunks', because: null });
});

test.each([
  ['a text by its language', 'CREATE TABLE t (id text PRIMARY KEY)', '{ name: t }'],
  ['a text by an ICU collation', 'CREATE TABLE t (id varchar(9) COLLATE "de-x-icu" PRIMARY KEY)', '{ name: t }'],
  ['a padded text', 'CREATE TABLE t (id char(9) PRIMARY KEY)', '{ name: t }'],
  ['columns of the key in another order', 'CREATE TABLE t (a int, b int, PRIMARY KEY (a, b))', '{ name: t, key: [b, a] }'],
])('%s: a change costs its rows, unless rows are long', async (_, schema, table) => {
  expect(await costOf(schema, table)).toEqual({ reads: 'rows', because: 'no index has the order of its key' });
});

const LOOSE = `CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`;

const TWICE = 'its query reads it more than once: one row may decide about others';
const ANOTHER_KEY = 'its key in the plan is not its primary key, which changes are recorded by';
test.each([
  ['a table that looks at its other rows', T, '{ name: t, where: "v = (SELECT max(o.v) FROM t AS o)" }', TWICE],
  [
    'a table that a joined view reads',
    `${T}; CREATE VIEW w AS SELECT v FROM t`,
    '{ name: t, where: "EXISTS (SELECT FROM w WHERE w.v = t.id)" }',
    TWICE,
  ],
  [
    'a table one of whose partitions is joined',
    'CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9)',
    '{ name: t, where: "EXISTS (SELECT FROM t1 WHERE t1.v = t.id)" }',
    TWICE,
  ],
  ['a view', `${T}; CREATE VIEW w AS SELECT id, v FROM t`, '{ name: w, key: [id] }', 'it is a view'],
  ['a table that another one inherits from', `${T}; CREATE TABLE h () INHERITS (t)`, '{ name: t }', 'other tables inherit from it'],
  ['a table with policies', `${T}; ALTER TABLE t ENABLE ROW LEVEL SECURITY`, '{ name: t }', 'it has row-level security'],
  [
    'a text whose case does not count',
    `${LOOSE}; CREATE TABLE t (no int, id text COLLATE loose, PRIMARY KEY (no, id)); CREATE INDEX ON t (no, id COLLATE "C")`,
    '{ name: t }',
    'keys that differ may be equal: the collation of id is not deterministic',
  ],
  [
    'a text whose last blanks do not count',
    'CREATE TABLE t (id bpchar COLLATE "C" PRIMARY KEY)',
    '{ name: t }',
    'blanks at the end of a key are not recorded: id is of type bpchar without a length',
  ],
  ['another key', 'CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL UNIQUE)', '{ name: t, key: [v] }', ANOTHER_KEY],
  ['a wider key', 'CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL)', '{ name: t, key: [id, v] }', ANOTHER_KEY],
  ['a date', 'CREATE TABLE t (id date PRIMARY KEY)', '{ name: t }', 'a session’s settings decide how its key is printed: date'],
  [
    'rows as text',
    'CREATE TYPE c AS (a int); CREATE TABLE t (id int PRIMARY KEY, v c)',
    '{ name: t }',
    'its rows have no binary form that is the same in every database',
  ],
])('%s: a change costs the table', async (_, schema, table, because) => {
  expect(await costOf(schema, table)).toEqual({ reads: 'table', because });
});

test('without captured changes every change costs the table', async () => {
  expect(await costOf(T, '{ name: t }', 'none')).toEqual({ reads: 'table', because: 'the plan does not say `changes: triggers`' });
});
