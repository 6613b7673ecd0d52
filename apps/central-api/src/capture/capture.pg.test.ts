import { createPool, removeTriggers, withClient, withTransaction } from '@waypost/runtime';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { installCapture } from '../../testing/capture.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';

const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, shop int NOT NULL);
  CREATE TABLE items (id int, "Second" text, v int, PRIMARY KEY (id, "Second"));
  CREATE TABLE parts (id int PRIMARY KEY, at date) PARTITION BY RANGE (id);
  CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (100);
  CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (100) TO (200);
  CREATE TABLE keyless (a int);
  CREATE TABLE base (id int PRIMARY KEY, v int); CREATE VIEW inner_view AS SELECT * FROM base; CREATE VIEW outer_view AS SELECT * FROM inner_view;
  CREATE ROLE clerk; GRANT SELECT, INSERT, UPDATE, DELETE ON items TO clerk;`;
const PLAN = `
version: 1
schemaVersion: 1
changes: triggers
scope:
  query: SELECT shop FROM devices WHERE mac = :mac
tables:
  - name: items
    where: EXISTS (SELECT FROM keyless WHERE a = items.v)
  - name: parts
  - name: outer_view
    key: [id]
`;
const WATCHED = ['base', 'devices', 'items', 'keyless', 'parts', 'parts_high', 'parts_low'];

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

test('all that the queries read is watched: what is joined only, what the scope asks, tables behind views, partitions', async () => {
  const whole = { tables: WATCHED, unwatched: [], reasons: {}, obstacles: [], notChecked: {} };
  expect(await installCapture(central.databaseUrl, PLAN)).toEqual(whole);
  expect(await installCapture(central.databaseUrl, PLAN)).toEqual(whole);
});

/** What one transaction leaves. */
async function recorded(sql: string): Promise<string[]> {
  const client = new pg.Client({ connectionString: central.databaseUrl });
  await client.connect();
  try {
    await client.query('TRUNCATE waypost.changes');
    await client.query(sql);
    const { rows } = await client.query<{ line: string }>(`
      SELECT concat_ws(' ', operation, relation::regclass, coalesce((SELECT string_agg(key, ' ' ORDER BY key) FROM unnest(keys) AS key), 'all')) AS line
      FROM waypost.changes ORDER BY changed_at`);
    return rows.map(({ line }) => line);
  } finally {
    await client.end();
  }
}

test.each<[string, string, string[]]>([
  ['an insert', "INSERT INTO items VALUES (1, 'a b', 1), (2, '\"', 1)", ['INSERT items (1,"a b") (2,"""")']],
  ['an update', 'UPDATE items SET v = 2 WHERE id = 1', ['UPDATE items (1,"a b")']],
  ['an update of a key', 'UPDATE items SET id = 9 WHERE id = 2', ['UPDATE items (2,"""") (9,"""")']],
  [
    'an update of several rows, keys among them',
    'UPDATE items SET id = id + 2 WHERE id IN (1, 9)',
    ['UPDATE items (1,"a b") (11,"""") (3,"a b") (9,"""")'],
  ],
  [
    'rows that get their keys back',
    'UPDATE items SET id = id - 2 WHERE id IN (3, 11)',
    ['UPDATE items (1,"a b") (11,"""") (3,"a b") (9,"""")'],
  ],
  ['an update that finds no row', 'UPDATE items SET v = 3 WHERE id = 77', []],
  ['an upsert', 'INSERT INTO items VALUES (1, \'a b\', 5) ON CONFLICT (id, "Second") DO UPDATE SET v = 5', ['UPDATE items (1,"a b")']],
  ['a delete', 'DELETE FROM items WHERE id = 9', ['DELETE items (9,"""")']],
  ['more rows than are listed', "INSERT INTO items SELECT g, 'x', 0 FROM generate_series(100, 1200) g", ['INSERT items all']],
  ['a table without key', 'INSERT INTO keyless VALUES (1)', ['INSERT keyless all']],
  ['a partitioned table', 'INSERT INTO parts VALUES (1), (150)', ['INSERT parts 1 150']],
  ['a row that moves to another partition', 'UPDATE parts SET id = 120 WHERE id = 1', ['UPDATE parts 1 120']],
  ['a partition, directly', 'DELETE FROM parts_high', ['DELETE parts_high 120 150']],
  ['a view that can be written to', 'INSERT INTO outer_view VALUES (1, 1)', ['INSERT base 1']],
  ['TRUNCATE', 'TRUNCATE parts', ['TRUNCATE parts all', 'TRUNCATE parts_low all', 'TRUNCATE parts_high all']],
  [
    'MERGE',
    'MERGE INTO items USING (VALUES (1, \'a b\')) AS s(i, t) ON id = i AND "Second" = t WHEN MATCHED THEN UPDATE SET v = 6',
    ['UPDATE items (1,"a b")'],
  ],
  ['what is rolled back', 'BEGIN; UPDATE base SET v = 2; ROLLBACK', []],
  ['what a savepoint takes back', 'BEGIN; UPDATE base SET v = 2; SAVEPOINT s; DELETE FROM base; ROLLBACK TO s; COMMIT', ['UPDATE base 1']],
  ['a session that fires no ordinary triggers', "SET session_replication_role = 'replica'; DELETE FROM base", ['DELETE base 1']],
  ['a writer without rights on schema waypost', "SET ROLE clerk; INSERT INTO items VALUES (3, 'c', 3); RESET ROLE", ['INSERT items (3,c)']],
  ['a writer with a search path of its own', 'SET search_path = pg_temp; DELETE FROM public.items WHERE id = 3', ['DELETE items (3,c)']],
])('%s is recorded as it is', async (_, sql, lines) => {
  expect(await recorded(sql)).toEqual(
    lines.map((line) => line.replace(/^(\w+) (\w+)/, sql.includes('pg_temp') ? '$1 public.$2' : '$1 $2')),
  );
});

test('remove takes all triggers and functions away', async () => {
  const pool = createPool({ url: central.databaseUrl, applicationName: 'test', maxConnections: 1, onIdleError: () => undefined });
  const removed = await withClient(pool, (client) => withTransaction(client, 'READ WRITE', () => removeTriggers(client)));
  await pool.end();
  expect(removed.sort()).toEqual(WATCHED);
  expect(await recorded('INSERT INTO base VALUES (5, 5)')).toEqual([]);
  expect(await central.sql("SELECT FROM pg_proc WHERE proname LIKE 'capture%' AND pronamespace = 'waypost'::regnamespace")).toEqual([]);
});
