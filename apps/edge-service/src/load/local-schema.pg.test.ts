import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { Edge, queryAt } from '../../testing/edge.js';
import { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';

const TABLES = ['companies', 'users', 'areas'];
const CREATE = `
  CREATE TYPE level AS ENUM ('low', 'high');
  CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL);
  CREATE TABLE users (id int PRIMARY KEY, company_id int NOT NULL, level level);
  CREATE TABLE areas (id int PRIMARY KEY, name varchar(20));
  INSERT INTO companies SELECT g, 'c' || g FROM generate_series(1, 5) g;
  INSERT INTO users SELECT g, 1 + g % 5, 'low' FROM generate_series(1, 50) g;
  INSERT INTO areas SELECT g, 'a' || g FROM generate_series(1, 5) g;`;

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
});
afterEach(() => pair?.[Symbol.asyncDispose]());
afterAll(() => server?.[Symbol.asyncDispose]());

const companies = (url: string) => queryAt(url, 'SELECT * FROM companies ORDER BY id');

test.each([
  ['ALTER TABLE areas ADD COLUMN extra int', 'areas has a column extra integer that the manifest lacks'],
  ['ALTER TABLE areas ALTER COLUMN name TYPE text', 'areas.name is text here, character varying(20) in the manifest'],
  [
    "ALTER TYPE level ADD VALUE 'middle' BEFORE 'high'",
    'the enum type public.level has the labels low, middle, high here, the labels low, high in the manifest',
  ],
  ['DROP TABLE areas; CREATE VIEW areas AS SELECT 1 AS id', 'areas is a view, not a table'],
])('%s: the sync is refused, names the difference, and raises an alert', async (sql, detail) => {
  await edge.query(sql);
  await central.change("UPDATE companies SET name = name || '!'");
  const before = await companies(edge.databaseUrl);
  expect(await edge.sync()).toMatchObject({ httpStatus: 409, code: 'SCHEMA_MISMATCH', detail: expect.stringContaining(detail) as unknown });
  expect(await companies(edge.databaseUrl)).toEqual(before);
  expect((await edge.status()).alert).toMatchObject({ code: 'SCHEMA_MISMATCH' });
});

test('a column that was dropped is added again, and its rows are loaded', async () => {
  await edge.query('ALTER TABLE areas DROP COLUMN name');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query('SELECT * FROM areas ORDER BY id')).toEqual(await queryAt(source, 'SELECT * FROM areas ORDER BY id'));
});

test('a row that no local partition takes is refused with the table, and what to attach', async () => {
  await edge.query(`
    DROP TABLE areas; CREATE TABLE areas (id int PRIMARY KEY, name varchar(20)) PARTITION BY RANGE (id);
    CREATE TABLE areas_low PARTITION OF areas FOR VALUES FROM (0) TO (4)`);
  expect(await edge.sync()).toMatchObject({
    code: 'LOAD_REFUSED',
    detail: expect.stringContaining('No partition of public.areas') as unknown,
    hint: expect.stringContaining("'public.areas'::regclass") as unknown,
  });
  await edge.query('CREATE TABLE areas_rest PARTITION OF areas DEFAULT');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
});

test('a generated column of the device and another order of columns do not matter', async () => {
  await edge.query(
    'DROP TABLE areas; CREATE TABLE areas (size int GENERATED ALWAYS AS (length(name)) STORED, name varchar(20), id int PRIMARY KEY)',
  );
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query('SELECT id, size FROM areas WHERE id = 3')).toEqual([{ id: 3, size: 2 }]);
});

test('a table whose rows do not come back in key order is verified in key order', async () => {
  await edge.query(`
    DROP TABLE areas;
    CREATE TABLE areas (id int, name varchar(20), PRIMARY KEY (id)) PARTITION BY HASH (id);
    CREATE TABLE areas_0 PARTITION OF areas FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE areas_1 PARTITION OF areas FOR VALUES WITH (MODULUS 2, REMAINDER 1);`);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query('SELECT count(*)::int AS n FROM areas')).toEqual([{ n: 5 }]);
});

test('rows that a trigger alters fail verification, roll back all tables, and reach central as a failure', async () => {
  await edge.query(`
    CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$;
    CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON areas FOR EACH ROW EXECUTE FUNCTION shout();`);
  await central.change("UPDATE companies SET name = name || '!'; UPDATE areas SET name = name || '!'");
  const before = await companies(edge.databaseUrl);
  expect(await edge.sync()).toMatchObject({
    httpStatus: 500,
    code: 'VERIFICATION_FAILED',
    detail: expect.stringContaining('areas') as unknown,
    hint: expect.stringContaining('trigger shout on areas') as unknown,
  });
  expect(await companies(edge.databaseUrl)).toEqual(before);
  expect(central.acks.at(-1)).toMatchObject({ status: 'Failed' });
  await edge.query('DROP TRIGGER shout ON areas');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await companies(edge.databaseUrl)).toEqual(await companies(source));
});

test('triggers that may alter rows are named at the first sync, once for the tables that are mirrored', async () => {
  const { url: databaseUrl } = await server.createDatabase('edge');
  await queryAt(
    databaseUrl,
    `CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL);
     CREATE TABLE areas (id int PRIMARY KEY, name varchar(20)) PARTITION BY HASH (id);
     CREATE TABLE areas_0 PARTITION OF areas FOR VALUES WITH (MODULUS 2, REMAINDER 0);
     CREATE TABLE areas_1 PARTITION OF areas FOR VALUES WITH (MODULUS 2, REMAINDER 1);
     CREATE FUNCTION check_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
     CREATE TRIGGER checks BEFORE INSERT OR UPDATE ON areas FOR EACH ROW EXECUTE FUNCTION check_only();
     CREATE TRIGGER checks BEFORE INSERT ON companies FOR EACH ROW EXECUTE FUNCTION check_only();
     CREATE TRIGGER disabled BEFORE INSERT ON companies FOR EACH ROW EXECUTE FUNCTION check_only();
     ALTER TABLE companies DISABLE TRIGGER disabled;
     CREATE TRIGGER after AFTER INSERT ON companies FOR EACH ROW EXECUTE FUNCTION check_only();
     CREATE TRIGGER per_statement BEFORE INSERT ON companies FOR EACH STATEMENT EXECUTE FUNCTION check_only();`,
  );
  const warnings: Record<string, unknown>[] = [];
  const onLog = (line: Record<string, unknown>): void => void (line['triggers'] && warnings.push(line));
  await using device = await Edge.start({ databaseUrl, centralUrl: central.url, onLog });
  const warning = {
    level: 'warn',
    msg: expect.stringContaining('may alter rows') as unknown,
    triggers: ['public.areas', 'public.companies'].map((table) => ({ table, trigger: 'checks' })),
    hint: expect.stringContaining('DISABLE TRIGGER') as unknown,
  };
  expect(await device.sync()).toMatchObject({ status: 'Success' });
  expect(warnings).toMatchObject([warning]);
  await central.change("UPDATE companies SET name = name || '!'");
  expect(await device.sync()).toMatchObject({ status: 'Success' });
  expect(warnings).toHaveLength(1);
});

test('a local constraint that refuses a row rolls back all tables and names itself, without row data', async () => {
  await edge.query("ALTER TABLE areas ADD CONSTRAINT short CHECK (name <> 'secret')");
  await central.change("UPDATE companies SET name = name || '!'; UPDATE areas SET name = 'secret' WHERE id = 1");
  const before = await companies(edge.databaseUrl);
  const answer = await edge.sync();
  expect(answer).toMatchObject({ code: 'LOAD_REFUSED', detail: expect.stringContaining('constraint short') as unknown });
  expect(JSON.stringify(answer)).not.toContain('secret');
  expect(await companies(edge.databaseUrl)).toEqual(before);
});

test('a table that left the manifest keeps its rows, and comes back in full', async () => {
  const shorter = await FakeCentral.start(source, ['companies', 'users']);
  await using other = await Edge.start({ databaseUrl: edge.databaseUrl, centralUrl: shorter.url });
  await shorter.publish();
  await shorter.publish();
  expect(await other.sync()).toMatchObject({ status: 'Unchanged' });
  expect(await edge.query('SELECT FROM areas')).toHaveLength(5);
  expect((await edge.query('SELECT FROM waypost.edge_mirror_tables')).length).toBe(2);
  await shorter[Symbol.asyncDispose]();
});

test('a table that was truncated is found and loaded again; one that was only rewritten is left alone', async () => {
  await edge.query('TRUNCATE areas');
  await edge.query('VACUUM FULL companies');
  const answer = await edge.sync();
  expect(answer.tables.map(({ name, action }) => [name, action])).toEqual([
    ['companies', 'unchanged'],
    ['users', 'unchanged'],
    ['areas', 'loaded'],
  ]);
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
});
