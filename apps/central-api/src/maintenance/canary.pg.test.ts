import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { installCapture } from '../../testing/capture.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { runSql } from '../../testing/sql.js';
import { readCanaries, type Trial, tryCapture } from '@waypost/runtime';

const MAC = '02:00:00:00:00:01';
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, shop int NOT NULL);
  INSERT INTO devices VALUES ('${MAC}', 1);
  CREATE DOMAIN amount AS numeric NOT NULL CHECK (VALUE > 0);
  CREATE TABLE prices (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, price amount, double numeric GENERATED ALWAYS AS (price * 2) STORED);
  INSERT INTO prices (price) VALUES (1), (2);
  CREATE TABLE keyless (a int NOT NULL);
  CREATE TABLE "Odd ""parts" (at date, id int, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
  CREATE TABLE part PARTITION OF "Odd ""parts" FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');`;
const PLAN = `
version: 1
schemaVersion: 1
changes: triggers
scope: { query: "SELECT shop FROM devices WHERE mac = :mac" }
tables:
  - { name: prices, where: "EXISTS (SELECT FROM keyless)" }
  - { name: '"Odd ""parts"' }
`;
const QUIET = { CANARY_INTERVAL: 'off', SHADOW_READS: 'off' };
const TABLES = ['"Odd ""parts"', 'devices', 'keyless', 'part', 'prices'];

let server: TestServer;
let central: OwnCentral;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

beforeEach(async () => {
  central = await startOwnCentral({ server, schema: SCHEMA, plan: PLAN, env: QUIET });
});
afterEach(() => central?.[Symbol.asyncDispose]());

/** Tries tables as the role of the URL. */
async function tryTables(names: readonly string[] = TABLES, url = central.databaseUrl): Promise<Trial[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query('BEGIN');
    const { rows } = await client.query<{ oids: string[] }>(
      'SELECT array_agg(name::regclass::oid::int8::text) AS oids FROM unnest($1::text[]) AS name',
      [names],
    );
    const trials: Trial[] = [];
    for (const table of await readCanaries(client, rows[0]!.oids)) trials.push(await tryCapture(client, table));
    await client.query('COMMIT');
    return trials;
  } finally {
    await client.end();
  }
}

const good = (name: string): unknown => expect.objectContaining({ name, missed: [], notChecked: undefined, broken: undefined });

test('each captured table is proven, whatever its columns are, and nothing stays', async () => {
  expect((await installCapture(central.databaseUrl, PLAN)).notChecked).toEqual({});
  expect(await tryTables()).toEqual(TABLES.map(good));
  expect(await central.sql('SELECT FROM waypost.changes')).toEqual([]);
  expect(await central.sql('SELECT id FROM prices ORDER BY 1')).toEqual([{ id: 1 }, { id: 2 }]);
});

const onUpdateFunction = (change: string): string => `DO $do$ BEGIN EXECUTE format($f$${change}$f$,
  (SELECT tgfoid::regproc FROM pg_trigger WHERE tgname = 'waypost_capture_update' AND tgrelid = 'prices'::regclass)); END $do$`;
const withBody = (body: string): string =>
  onUpdateFunction(
    `CREATE OR REPLACE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $b$BEGIN ${body} RETURN NULL; END$b$`,
  );

test.each<[string, string, string[]]>([
  ['a trigger that is disabled', 'ALTER TABLE prices DISABLE TRIGGER waypost_capture_delete', ['DELETE']],
  ['all triggers disabled', 'ALTER TABLE prices DISABLE TRIGGER ALL', ['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']],
  ['a trigger of TRUNCATE that is disabled', 'ALTER TABLE prices DISABLE TRIGGER waypost_capture_truncate', ['TRUNCATE']],
  ['a trigger that is gone', 'DROP TRIGGER waypost_capture_insert ON prices', ['INSERT']],
  [
    'a catalog that hides the triggers',
    "UPDATE pg_class SET relhastriggers = false WHERE relname = 'prices'",
    ['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'],
  ],
  ['a function that does nothing', withBody(''), ['UPDATE']],
  [
    'a function that names a table by its oid before a restore',
    withBody("INSERT INTO waypost.changes (relation, operation) VALUES (4711, 'UPDATE');"),
    ['UPDATE'],
  ],
  [
    'a table of changes that swallows rows',
    'CREATE RULE lost AS ON INSERT TO waypost.changes DO INSTEAD NOTHING',
    ['INSERT', 'UPDATE', 'DELETE'],
  ],
  [
    'ordinary triggers in a session that fires none',
    "ALTER TABLE prices ENABLE TRIGGER waypost_capture_update; ALTER ROLE CURRENT_USER IN DATABASE %d SET session_replication_role = 'replica'",
    ['UPDATE'],
  ],
])('%s: what is not recorded is named', async (_, change, missed) => {
  await installCapture(central.databaseUrl, PLAN);
  await runSql(central.databaseUrl, change.replace('%d', `"${new URL(central.databaseUrl).pathname.slice(1)}"`));
  expect(await tryTables(['prices'])).toEqual([expect.objectContaining({ name: 'prices', missed, notChecked: undefined })]);
});

test('session_replication_role does not keep the triggers of an installation from firing', async () => {
  await installCapture(central.databaseUrl, PLAN);
  await runSql(
    central.databaseUrl,
    `ALTER ROLE CURRENT_USER IN DATABASE "${new URL(central.databaseUrl).pathname.slice(1)}" SET session_replication_role = 'replica'`,
  );
  expect(await tryTables()).toEqual(TABLES.map(good));
});

test('what cannot be tried counts neither as proven nor as missed', async () => {
  await installCapture(central.databaseUrl, PLAN);
  await runSql(
    central.databaseUrl,
    `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'rows stay'; END $$;
     CREATE TRIGGER refuse BEFORE DELETE ON keyless FOR EACH STATEMENT EXECUTE FUNCTION refuse();
     CREATE RULE elsewhere AS ON INSERT TO devices DO INSTEAD NOTHING`,
  );
  const alters = new pg.Client({ connectionString: central.databaseUrl });
  await alters.connect();
  try {
    await alters.query('BEGIN; ALTER TABLE prices ADD note text');
    const trials = await tryTables(['devices', 'keyless', 'prices']);
    expect(trials.map(({ missed }) => missed)).toEqual([[], [], []]);
    expect(trials.map(({ notChecked }) => notChecked)).toEqual([
      'INSERT: a rule stands in for INSERT',
      'DELETE: rows stay',
      'INSERT: the table is locked; UPDATE: the table is locked; DELETE: the table is locked',
    ]);
  } finally {
    await alters.end();
  }
});

test('a trigger function that fails is told from a trigger of the application that refuses', async () => {
  await installCapture(central.databaseUrl, PLAN);
  await runSql(central.databaseUrl, withBody("RAISE 'broken';"));
  expect(await tryTables(['prices'])).toEqual([expect.objectContaining({ missed: [], notChecked: 'UPDATE: broken', broken: 'broken' })]);
});

test('an installation that is not seen to record is refused, and nothing of it stays', async () => {
  await runSql(
    central.databaseUrl,
    `CREATE FUNCTION hide() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
       UPDATE pg_class SET relhastriggers = false WHERE oid = 'keyless'::regclass AND relhastriggers;
     END $$;
     CREATE EVENT TRIGGER hide ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION hide()`,
  );
  await expect(installCapture(central.databaseUrl, PLAN)).rejects.toMatchObject({
    code: 'CAPTURE_UNPROVEN',
    message: expect.stringMatching(/INSERT, UPDATE, DELETE, TRUNCATE of keyless/),
  });
  expect(await central.sql("SELECT FROM pg_trigger WHERE tgname LIKE 'waypost%'")).toEqual([]);
});

test('writes of the application’s own statement triggers are rolled back, too', async () => {
  await runSql(
    central.databaseUrl,
    `CREATE TABLE log (what text);
     CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log VALUES (TG_OP || ' as ' || current_user); PERFORM pg_notify('c', ''); RETURN NULL; END $$;
     CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON keyless FOR EACH STATEMENT EXECUTE FUNCTION log()`,
  );
  await installCapture(central.databaseUrl, PLAN);
  expect(await tryTables(['keyless'])).toEqual([good('keyless')]);
  expect(await central.sql('SELECT FROM log')).toEqual([]);
});
