import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';

const TABLES = ['companies', 'users', 'areas'];
const CREATE = `
  CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL);
  CREATE TABLE users (id int PRIMARY KEY, company_id int NOT NULL, email text);
  CREATE TABLE areas (id int PRIMARY KEY, company_id int NOT NULL, size int);
  INSERT INTO companies SELECT g, 'c' || g FROM generate_series(1, 5) g;
  INSERT INTO users SELECT g, 1 + g % 5, 'u' || g FROM generate_series(1, 50) g;
  INSERT INTO areas SELECT g, 1 + g % 5, g FROM generate_series(1, 50) g;`;
const OWN = `
  CREATE TABLE readings (id int PRIMARY KEY, n int);
  INSERT INTO readings SELECT g, g FROM generate_series(1, 10) g;`;

let server: TestServer;
let source: string;
let central: FakeCentral;
let edge: Edge;
let pair: FakePair;

beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  pair = await startFakePair({ server, source: CREATE, tables: TABLES });
  ({ source, central, edge } = pair);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  await edge.query(OWN);
});
afterEach(() => pair?.[Symbol.asyncDispose]());
afterAll(() => server?.[Symbol.asyncDispose]());

async function contents(url: string, tables = [...TABLES, 'readings']): Promise<unknown[][]> {
  return Promise.all(tables.map((table) => queryAt(url, `SELECT t::text AS row FROM ${table} AS t ORDER BY 1`)));
}

/** A trigger on users that runs a statement after each row. */
async function addTrigger(statement: string, options = 'AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW'): Promise<void> {
  const [kind, rest] = options.startsWith('CONSTRAINT ') ? ['CONSTRAINT TRIGGER', options.slice(11)] : ['TRIGGER', options];
  await edge.query(`
    CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${statement}; RETURN NULL; END $$;
    CREATE ${kind} meddle ${rest} EXECUTE FUNCTION meddle();`);
}

async function expectRefused(table: string, ...causes: string[]): Promise<void> {
  const before = await contents(edge.databaseUrl);
  const answer = await edge.sync();
  expect(answer).toMatchObject({ httpStatus: 409, code: 'SIDE_EFFECT' });
  for (const named of [table, ...causes]) expect(answer.detail).toContain(named);
  expect(await contents(edge.databaseUrl)).toEqual(before);
  expect((await edge.status()).alert).toMatchObject({ code: 'SIDE_EFFECT' });
  expect(central.acks.at(-1)).toMatchObject({ status: 'Failed' });
}

async function expectEqual(): Promise<void> {
  expect(await edge.sync()).toMatchObject({ httpStatus: 200, status: 'Success' });
  expect(await contents(edge.databaseUrl, TABLES)).toEqual(await contents(source, TABLES));
}

const CHANGE =
  "UPDATE users SET email = email || '!' WHERE id < 4; DELETE FROM users WHERE id = 50; INSERT INTO users VALUES (60, 1, 'new')";

describe('a trigger of a mirrored table that writes elsewhere rolls the load back, and is named', () => {
  test.each<[string, string, string | undefined]>([
    ['an insert into a table of the own', 'INSERT INTO readings VALUES (1000 + coalesce(NEW.id, OLD.id), 0)', undefined],
    ['an update of the own', 'UPDATE readings SET n = n + 1 WHERE id = 1', undefined],
    ['a delete from the own', 'DELETE FROM readings WHERE id = 1', undefined],
    ['TRUNCATE of the own', 'TRUNCATE readings', undefined],
    ['DROP of the own', "IF to_regclass('public.readings') IS NOT NULL THEN DROP TABLE public.readings; END IF", undefined],
    [
      'an update that a deferred trigger runs at COMMIT',
      'UPDATE readings SET n = n + 1 WHERE id = 1',
      'CONSTRAINT AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW',
    ],
  ])('%s', async (_, statement, options) => {
    await addTrigger(statement, options);
    await central.change(CHANGE);
    await expectRefused('public.readings', 'trigger meddle on users');
    await edge.query('DROP TRIGGER meddle ON users');
    await expectEqual();
  });

  test('into a mirrored table that did not change', async () => {
    await addTrigger('UPDATE areas SET size = size + 1 WHERE company_id = coalesce(NEW.company_id, OLD.company_id)');
    await central.change(CHANGE);
    await expectRefused('public.areas', 'trigger meddle on users');
    await edge.query('DROP TRIGGER meddle ON users');
    await expectEqual();
  });

  test('into a mirrored table that changes as well', async () => {
    await addTrigger('UPDATE areas SET size = size + 1 WHERE id = 7');
    await central.change(`${CHANGE}; UPDATE areas SET size = 100 WHERE id = 8`);
    await expectRefused('public.areas', 'trigger meddle on users');
  });

  test('into a mirrored table, by TRUNCATE', async () => {
    await addTrigger('TRUNCATE areas');
    await central.change(CHANGE);
    await expectRefused('public.areas', 'trigger meddle on users');
  });

  test('into a partition of the own', async () => {
    await edge.query(`
      CREATE TABLE log (id int, part int) PARTITION BY LIST (part);
      CREATE TABLE log_1 PARTITION OF log FOR VALUES IN (1);`);
    await addTrigger('INSERT INTO log VALUES (1, 1)');
    await central.change(CHANGE);
    await expectRefused('public.log', 'trigger meddle on users');
  });
});

test('a first load, too', async () => {
  await edge.query('TRUNCATE users');
  await addTrigger('UPDATE readings SET n = n + 1');
  await expectRefused('public.readings', 'trigger meddle on users');
});

test('LOAD_STRATEGY=truncate, too', async () => {
  await using other = await Edge.start({ databaseUrl: edge.databaseUrl, centralUrl: central.url, env: { LOAD_STRATEGY: 'truncate' } });
  await addTrigger('UPDATE readings SET n = n + 1');
  await central.change(CHANGE);
  expect(await other.sync()).toMatchObject({ code: 'SIDE_EFFECT' });
  await edge.query('DROP TRIGGER meddle ON users');
  expect(await other.sync()).toMatchObject({ status: 'Success' });
  expect(await contents(edge.databaseUrl, TABLES)).toEqual(await contents(source, TABLES));
});

test('a row that goes while mirrored rows that stay reference it is refused before a cascade could take them', async () => {
  await edge.query('ALTER TABLE areas ADD CONSTRAINT of_company FOREIGN KEY (company_id) REFERENCES companies ON DELETE CASCADE');
  await central.change('DELETE FROM companies WHERE id = 1');
  const before = await contents(edge.databaseUrl);
  expect(await edge.sync()).toMatchObject({
    httpStatus: 409,
    code: 'LOCAL_REFERENCE',
    detail: expect.stringContaining('of_company') as unknown,
  });
  expect(await contents(edge.databaseUrl)).toEqual(before);
});

test('a trigger that writes what is there already, or what the manifest wants, is proven by the hash', async () => {
  await addTrigger("UPDATE companies SET name = 'c' || id WHERE id = coalesce(NEW.company_id, OLD.company_id)");
  await central.change(CHANGE);
  await expectEqual();
});

test('SIDE_EFFECT_TABLES: triggers may write to the tables that it names, and to no others', async () => {
  await using allowing = await Edge.start({
    databaseUrl: edge.databaseUrl,
    centralUrl: central.url,
    env: { SIDE_EFFECT_TABLES: '"odd, name", readings' },
  });
  await addTrigger('UPDATE readings SET n = n + 1 WHERE id = 1');
  await central.change(CHANGE);
  expect(await allowing.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query('SELECT n FROM readings WHERE id = 1')).toEqual([{ n: 6 }]);
  await edge.query('CREATE TABLE others AS SELECT 1 AS n');
  await edge.query(
    "CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE others SET n = 2; RETURN NULL; END'",
  );
  await central.change("UPDATE users SET email = 'again'");
  expect(await allowing.sync()).toMatchObject({ code: 'SIDE_EFFECT', detail: expect.stringContaining('public.others') as unknown });
  expect(await edge.query('SELECT n FROM others')).toEqual([{ n: 1 }]);
});

describe('a server that does not count', () => {
  const asRole = async (role: string): Promise<string> => {
    const url = new URL(edge.databaseUrl);
    url.username = role;
    url.password = role;
    return url.href;
  };
  const createRole = async (role: string): Promise<void> => {
    await edge.query(`
      CREATE ROLE ${role} LOGIN PASSWORD '${role}'; ALTER ROLE ${role} SET track_counts = off;
      DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('public', 'waypost') LOOP
          EXECUTE format('ALTER TABLE %s OWNER TO ${role}', name);
        END LOOP; END $$;
      ALTER SCHEMA waypost OWNER TO ${role}; GRANT ALL ON SCHEMA public TO ${role};
      GRANT ALL ON ALL TABLES IN SCHEMA waypost TO ${role}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA waypost TO ${role};`);
  };

  test('loads where nothing could write elsewhere, and refuses where something could', async () => {
    await createRole('uncounted');
    await using other = await Edge.start({ databaseUrl: await asRole('uncounted'), centralUrl: central.url });
    await central.change(CHANGE);
    expect(await other.sync()).toMatchObject({ status: 'Success' });
    await addTrigger('UPDATE areas SET size = size + 1');
    await central.change("UPDATE users SET email = 'again'");
    const before = await contents(edge.databaseUrl);
    expect(await other.sync()).toMatchObject({ code: 'SIDE_EFFECT', detail: expect.stringContaining('track_counts') as unknown });
    expect(await contents(edge.databaseUrl)).toEqual(before);
  });

  test('is made to count where the role may', async () => {
    await createRole('counted');
    await edge.query('GRANT SET ON PARAMETER track_counts TO counted');
    await using other = await Edge.start({ databaseUrl: await asRole('counted'), centralUrl: central.url });
    await addTrigger('UPDATE readings SET n = n + 1 WHERE id = 1');
    await edge.query('GRANT ALL ON readings TO counted');
    await central.change(CHANGE);
    expect(await other.sync()).toMatchObject({ code: 'SIDE_EFFECT', detail: expect.stringContaining('public.readings') as unknown });
    await edge.query('DROP TRIGGER meddle ON users');
    expect(await other.sync()).toMatchObject({ status: 'Success' });
  });
});

describe('from the comparison to COMMIT', () => {
  async function withWriter(work: (writer: pg.Client) => Promise<void>): Promise<void> {
    const writer = new pg.Client({ connectionString: edge.databaseUrl });
    await writer.connect();
    try {
      await work(writer);
    } finally {
      await writer.end();
    }
  }
  const waiting = async (mode: string): Promise<boolean> =>
    (await edge.query('SELECT FROM pg_locks WHERE NOT granted AND mode = $1', [mode])).length > 0;

  test('a local writer cannot write between comparison and load: the load waits for it, and overwrites what it wrote', () =>
    withWriter(async (writer) => {
      await writer.query("BEGIN; INSERT INTO users VALUES (999, 1, 'local')");
      await central.change(CHANGE);
      const syncing = edge.sync();
      await until(() => waiting('ShareRowExclusiveLock'));
      await writer.query('COMMIT');
      expect(await syncing).toMatchObject({ status: 'Success' });
      expect(await contents(edge.databaseUrl, TABLES)).toEqual(await contents(source, TABLES));
    }));

  test('local rows may be added that reference mirrored rows', () =>
    withWriter(async (writer) => {
      await edge.query('CREATE TABLE notes (user_id int REFERENCES users)');
      await writer.query('BEGIN; INSERT INTO notes VALUES (7)');
      await central.change(CHANGE);
      expect(await edge.sync()).toMatchObject({ status: 'Success' });
      await writer.query('COMMIT');
    }));
});
