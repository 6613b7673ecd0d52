import { jest } from '@jest/globals';
import pg from 'pg';
import { startTestServer, type TestDatabase, type TestServer } from '../../../../test/support/postgres.js';
import { readSample } from '../../../../test/support/samples.js';
import { until } from '../../../../test/support/until.js';
import { installCapture, showCapture } from '../../testing/capture.js';
import { type Central, startCentral } from '../../testing/central.js';
import { runSql } from '../../testing/sql.js';
import { ChangeTracker } from '../capture/change-tracker.js';
import { Canary } from './canary.js';
import { COUNT_CANARIES } from './canary.sql.js';
import { CLEAR_FINDING, DROP_READS, FORGET_SEEN } from '../capture/findings.sql.js';

const MAC = '02:00:00:00:00:01';
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, shop int NOT NULL);
  INSERT INTO devices VALUES ('${MAC}', 1);
  CREATE TABLE prices (id int PRIMARY KEY, price numeric);
  INSERT INTO prices VALUES (1, 1), (2, 2);`;
const PLAN = `
version: 1
schemaVersion: 1
changes: triggers
scope: { query: "SELECT shop FROM devices WHERE mac = :mac" }
tables:
  - { name: prices }
`;
const TABLES = ['devices', 'prices'];
const QUIET = { CANARY_INTERVAL: 'off', SHADOW_READS: 'off' };
const HIDE = "UPDATE pg_class SET relhastriggers = false WHERE relname = 'prices'";
const SHOW_AGAIN = "UPDATE pg_class SET relhastriggers = true WHERE relname = 'prices'";

let server: TestServer;
let database: TestDatabase;

beforeAll(async () => {
  server = await startTestServer();
  database = await server.createDatabase('roles');
  await runSql(
    database.url,
    "CREATE ROLE owner LOGIN PASSWORD 'secret'; CREATE ROLE service LOGIN PASSWORD 'secret'; CREATE ROLE stranger LOGIN PASSWORD 'secret'",
  );
});
afterAll(() => server?.[Symbol.asyncDispose]());
beforeEach(async () => {
  database = await server.createDatabase('canary');
});

function urlOf(role: string): string {
  const url = new URL(database.url);
  url.username = role;
  url.password = 'secret';
  return url.href;
}

const tried = ({ url }: Central, result: string) => readSample(url, `waypost_central_canaries_total{result="${result}"}`);

describe('with the roles of a real database', () => {
  let central: Central;
  beforeEach(async () => {
    const name = `"${new URL(database.url).pathname.slice(1)}"`;
    await runSql(
      database.url,
      `GRANT TEMPORARY ON DATABASE ${name} TO service, owner; GRANT CREATE, USAGE ON SCHEMA public TO owner; GRANT USAGE ON SCHEMA public TO service;
       CREATE SCHEMA waypost AUTHORIZATION service`,
    );
    await runSql(urlOf('owner'), `${SCHEMA} GRANT SELECT ON ALL TABLES IN SCHEMA public TO service`);
    central = await startCentral({ databaseUrl: urlOf('service'), plan: PLAN, env: QUIET });
  });
  afterEach(() => central?.[Symbol.asyncDispose]());

  test.each([
    ['the tables’ owner, who is a member of the service’s role', 'owner', 'GRANT service TO owner', 'REVOKE service FROM owner'],
    [
      'the tables’ owner with rights of its own',
      'owner',
      'GRANT USAGE, CREATE ON SCHEMA waypost TO owner; GRANT SELECT, INSERT ON waypost.changes TO owner',
      'REVOKE CREATE ON SCHEMA waypost FROM owner',
    ],
    ['a superuser', 'postgres', 'SELECT', 'SELECT'],
  ])('installed by %s: central tries all tables as their owner, and writes go on when the grant ends', async (_, by, grant, revoke) => {
    await runSql(database.url, grant);
    expect(await installCapture(by === 'owner' ? urlOf(by) : database.url, PLAN)).toMatchObject({
      unwatched: [],
      obstacles: [],
      notChecked: {},
    });
    await runSql(database.url, revoke);
    await central.app.get(Canary).tryAll();
    expect(await central.sql('SELECT table_name, not_checked FROM waypost.canaries ORDER BY 1')).toEqual(
      TABLES.map((table_name) => ({ table_name, not_checked: null })),
    );
    expect(await tried(central, 'recorded')).toBe(2);
    expect(await central.sql("SELECT DISTINCT pg_get_userbyid(proowner) AS owner FROM pg_proc WHERE proname LIKE 'canary%'")).toEqual([
      { owner: 'owner' },
    ]);
    await runSql(urlOf('owner'), 'UPDATE prices SET price = 9 WHERE id = 1');
    expect(await central.sql('SELECT operation FROM waypost.changes')).toEqual([{ operation: 'UPDATE' }]);
    expect((await showCapture(urlOf('service'), PLAN)).unwatched).toEqual([]);
  });

  test('the function is for the service alone, for captured tables of its owner alone, and leaves no right to write', async () => {
    await installCapture(database.url, PLAN);
    await runSql(urlOf('owner'), 'CREATE TABLE other (a int)');
    await runSql(database.url, 'CREATE TABLE theirs (a int); GRANT USAGE ON SCHEMA waypost TO stranger');
    const [row] = await runSql<{ name: string }>(
      database.url,
      "SELECT oid::regproc::text AS name FROM pg_proc WHERE proname LIKE 'canary%'",
    );
    const call = (role: string, table: string) => runSql(urlOf(role), `SELECT ${row?.name}('${table}', 'DELETE')`);
    await expect(call('stranger', 'prices')).rejects.toThrow(/permission denied for function/);
    await expect(call('service', 'other')).rejects.toThrow(/not a captured table/);
    await expect(call('service', 'theirs')).rejects.toThrow(/not a captured table/);
    await expect(call('service', 'waypost.changes')).rejects.toThrow(/not a captured table/);
    await expect(runSql(urlOf('service'), 'DELETE FROM prices')).rejects.toThrow(/permission denied/);
    await runSql(database.url, 'ALTER TABLE devices OWNER TO CURRENT_USER');
    await expect(call('service', 'devices')).rejects.toThrow(/not a captured table of owner/);
    await call('service', 'prices');
    expect(await central.sql('SELECT FROM prices')).toHaveLength(2);
    expect(await central.sql('SELECT FROM waypost.changes')).toEqual([]);
  });

  test('capture of an earlier version has no function: that is said, and is no finding', async () => {
    await installCapture(database.url, PLAN);
    await runSql(
      database.url,
      `DO $$ BEGIN EXECUTE (SELECT 'DROP FUNCTION ' || oid::regprocedure FROM pg_proc WHERE proname LIKE 'canary%'); END $$`,
    );
    await central.app.get(Canary).tryAll();
    const rows = await central.sql<{ not_checked: string }>('SELECT not_checked FROM waypost.canaries');
    expect(rows.map(({ not_checked }) => not_checked)).toEqual(
      TABLES.map(() => expect.stringContaining('run waypost capture install') as string),
    );
    expect(await tried(central, 'not_checked')).toBe(2);
    expect(await central.sql('SELECT FROM waypost.shadow_findings')).toEqual([]);
    expect((await installCapture(database.url, PLAN)).notChecked).toEqual({});
    await central.app.get(Canary).tryAll();
    expect(await tried(central, 'recorded')).toBe(2);
  });
});

test('a table that is written to unseen is a finding: every request reads tables, nothing read is shared, until an operator trusts it again', async () => {
  await runSql(database.url, SCHEMA);
  await using central = await startCentral({ databaseUrl: database.url, plan: PLAN, env: QUIET });
  await installCapture(database.url, PLAN);
  const canary = central.app.get(Canary);
  await runSql(database.url, HIDE);
  const held = await central.manifestFor(MAC);
  expect((await central.poll(held)).manifestId).toBe(held.manifestId);
  await central.sql('UPDATE prices SET price = 77 WHERE id = 1');
  expect((await central.poll(held)).tables).toEqual(held.tables); // the lie
  expect(await showCapture(database.url, PLAN)).toMatchObject({ unwatched: [], obstacles: [] });

  await canary.tryAll();
  expect(await central.sql('SELECT table_name, found_by, detail FROM waypost.shadow_findings')).toEqual([
    { table_name: 'prices', found_by: 'canary', detail: expect.stringMatching(/^INSERT, UPDATE, DELETE/) },
  ]);
  expect(await central.sql('SELECT FROM waypost.table_reads')).toEqual([]);
  expect(await tried(central, 'missed')).toBe(1);
  expect(await readSample(central.url, 'waypost_central_canary_findings')).toBe(1);
  expect(await readSample(central.url, 'waypost_central_shadow_findings')).toBe(0);
  const right = await central.poll(held);
  expect(right.tables).not.toEqual(held.tables);

  await runSql(database.url, SHOW_AGAIN);
  await canary.tryAll();
  expect(await readSample(central.url, 'waypost_central_canary_findings')).toBe(1);
  for (const statement of [DROP_READS, FORGET_SEEN]) await central.sql(statement);
  await central.sql(CLEAR_FINDING, ['prices']);
  expect((await central.poll(await central.poll(right))).tables).toEqual(right.tables);
});

test('a table about which no try says anything is counted: at once when it was never checked, else after a day', async () => {
  await runSql(database.url, SCHEMA);
  await using central = await startCentral({ databaseUrl: database.url, plan: PLAN, env: QUIET });
  await installCapture(database.url, PLAN);
  await central.manifestFor(MAC);
  const locks = new pg.Client({ connectionString: database.url });
  await locks.connect();
  try {
    await locks.query('BEGIN; LOCK TABLE prices');
    await central.app.get(Canary).tryAll();
  } finally {
    await locks.end();
  }
  expect(await readSample(central.url, 'waypost_central_canary_unchecked')).toBe(1);
  const counted = async (change: string): Promise<unknown> => {
    await central.sql(`UPDATE waypost.canaries SET ${change} WHERE table_name = 'prices'`);
    return (await central.sql<{ unchecked: number }>(COUNT_CANARIES))[0]?.unchecked;
  };
  expect(await counted("checked_at = now() - interval '23 hours'")).toBe(0);
  expect(await counted("checked_at = now() - interval '25 hours'")).toBe(1);
  expect(await counted("tried_at = now() - interval '3 days'")).toBe(0);
  await central.app.get(Canary).tryAll();
  expect(await counted('table_name = table_name')).toBe(0);
});

test('triggers that were switched off are no finding: the tables are read for as long as they are, and no longer', async () => {
  await runSql(database.url, SCHEMA);
  await using central = await startCentral({ databaseUrl: database.url, plan: PLAN, env: QUIET });
  await installCapture(database.url, PLAN);
  await runSql(database.url, 'ALTER TABLE prices DISABLE TRIGGER ALL');
  await central.app.get(Canary).tryAll();
  expect(await central.sql('SELECT FROM waypost.shadow_findings')).toEqual([]);
  expect(await central.sql('SELECT FROM waypost.canaries')).toEqual([]);
});

test('triggers that are switched off while it tries are no finding either', async () => {
  await runSql(database.url, SCHEMA);
  await using central = await startCentral({ databaseUrl: database.url, plan: PLAN, env: QUIET });
  await installCapture(database.url, PLAN);
  const tracker = central.app.get(ChangeTracker);
  const refresh = tracker.refresh.bind(tracker);
  using _looked = jest.spyOn(tracker, 'refresh').mockImplementation(async (client) => {
    const watched = await refresh(client);
    await runSql(database.url, 'ALTER TABLE prices DISABLE TRIGGER ALL');
    return watched;
  });
  await central.app.get(Canary).tryAll();
  expect(await central.sql('SELECT FROM waypost.shadow_findings')).toEqual([]);
  expect(await central.sql('SELECT table_name FROM waypost.canaries')).toEqual([{ table_name: 'devices' }]);
});

test('centrals try at start and then at their interval, side by side; a table that is altered meanwhile is tried again', async () => {
  await runSql(database.url, SCHEMA);
  {
    await using central = await startCentral({ databaseUrl: database.url, plan: PLAN, env: QUIET });
    await installCapture(database.url, PLAN);
    await central.manifestFor(MAC);
  }
  const alters = new pg.Client({ connectionString: database.url });
  await alters.connect();
  const env = { SHADOW_READS: 'off', CANARY_INTERVAL: '1s' };
  await using central = await startCentral({ databaseUrl: database.url, plan: PLAN, env });
  await using other = await startCentral({ databaseUrl: database.url, plan: PLAN, env });
  try {
    await until(async () => (await tried(central, 'recorded')) >= 2 && (await tried(other, 'recorded')) >= 2);
    await alters.query('BEGIN; LOCK TABLE prices IN ACCESS EXCLUSIVE MODE');
    const before = await tried(central, 'not_checked');
    await until(async () => (await tried(central, 'not_checked')) > before);
    const [row] = await central.sql<{ not_checked: string }>("SELECT not_checked FROM waypost.canaries WHERE table_name = 'prices'");
    expect(row?.not_checked).toContain('the table is locked');
    await alters.query('ROLLBACK');
    await until(async () => (await central.sql('SELECT FROM waypost.canaries WHERE not_checked IS NULL')).length === 2);
    expect(await central.sql('SELECT FROM waypost.shadow_findings')).toEqual([]);
  } finally {
    await alters.end();
  }
});
