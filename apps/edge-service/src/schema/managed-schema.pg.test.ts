import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';

/** Changes of central's tables that lose nothing are made on the device by themselves; all others wait for the owner of its tables. */

const TABLES = ['companies', 'users', 'areas'];
const CREATE = `
  CREATE TYPE level AS ENUM ('low', 'high');
  CREATE TABLE companies (id int PRIMARY KEY, name varchar(20) NOT NULL);
  CREATE TABLE users (id int PRIMARY KEY, company_id int NOT NULL, level level, price numeric(8, 2) NOT NULL, at timestamp(3));
  CREATE TABLE areas (id int PRIMARY KEY, name varchar(20), small smallint, ratio real);
  INSERT INTO companies SELECT g, 'c' || g FROM generate_series(1, 5) g;
  INSERT INTO users SELECT g, 1 + g % 5, 'low', g / 7.0, '2026-01-01'::timestamp + g * '1 ms'::interval FROM generate_series(1, 50) g;
  INSERT INTO areas SELECT g, 'a' || g, g, g / 3.0 FROM generate_series(1, 5) g;`;

let server: TestServer;
let source: string;
let central: FakeCentral;
let edge: Edge;
let pair: FakePair;

beforeAll(async () => {
  server = await startTestServer();
});
afterEach(() => pair?.[Symbol.asyncDispose]());
afterAll(() => server?.[Symbol.asyncDispose]());

async function start(env: Record<string, string> = {}, local?: string): Promise<void> {
  pair = await startFakePair({ server, source: CREATE, tables: TABLES, env, ...(local === undefined ? {} : { local }) });
  ({ source, central, edge } = pair);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
}

const rows = (url: string, table: string) => queryAt(url, `SELECT * FROM ${table} ORDER BY id`);
const columns = (table: string) =>
  edge.query(
    `SELECT attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS "notNull", atthasdef AS "hasDefault"
     FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
    [table],
  );
const files = (table: string) => edge.query('SELECT pg_relation_filenode($1::regclass)::int AS node', [table]);
const changes = () => edge.query('SELECT object, statement FROM waypost.edge_schema_changes ORDER BY id');

async function expectEqual(): Promise<void> {
  for (const table of TABLES) expect(await rows(edge.databaseUrl, table)).toEqual(await rows(source, table));
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
}

describe('managed', () => {
  beforeEach(() => start());

  test('a new column that is NULL everywhere is added, and nothing is downloaded', async () => {
    const before = await files('users');
    await central.change('ALTER TABLE users ADD COLUMN note text');
    expect(await edge.sync()).toMatchObject({ status: 'Success', downloadedBytes: 0, ack: 'sent' });
    await expectEqual();
    expect(await files('users')).toEqual(before);
    expect(await changes()).toEqual([{ object: 'users', statement: 'ALTER TABLE "public"."users" ADD COLUMN "note" text' }]);
    expect(central.acks.at(-1)).toMatchObject({ status: 'Success' });
  });

  test('of a new column with another value in some rows the table is fetched, and only those rows are written', async () => {
    await central.change("ALTER TABLE users ADD COLUMN note text; UPDATE users SET note = 'x' WHERE id < 4");
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    await expectEqual();
  });

  test('a new column that may not be NULL, without one value for all rows, is added with NULL allowed', async () => {
    await central.change('ALTER TABLE users ADD COLUMN made timestamptz NOT NULL DEFAULT clock_timestamp()');
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    await expectEqual();
    expect((await columns('users')).at(-1)).toMatchObject({ name: 'made', notNull: false });
  });

  test('a new column with one value for all rows is added without writing them, and nothing is downloaded', async () => {
    const before = await files('users');
    central.defaults = { users: [{ column: 'note', value: `it's \\ a "note"` }] };
    await central.change(`ALTER TABLE users ADD COLUMN note text NOT NULL DEFAULT E'it''s \\\\ a "note"'`);
    expect(await edge.sync()).toMatchObject({ status: 'Success', downloadedBytes: 0, ack: 'sent' });
    await expectEqual();
    expect(await files('users')).toEqual(before);
    expect((await columns('users')).at(-1)).toEqual({ name: 'note', type: 'text', notNull: true, hasDefault: false });
    await central.change("UPDATE users SET note = 'x' WHERE id = 7; DELETE FROM users WHERE id = 8");
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    await expectEqual();
  });

  test.each([
    ['that is no value of the type', 'x'],
    ['that holds SQL', '7); DROP TABLE users; --'],
  ])('a default %s is refused, and nothing of it runs', async (_, value) => {
    central.defaults = { users: [{ column: 'n', value }] };
    await central.change('ALTER TABLE users ADD COLUMN n int NOT NULL DEFAULT 7');
    const answer = await edge.sync();
    expect(answer).toMatchObject({ code: 'SCHEMA_MISMATCH', detail: expect.stringContaining('PostgreSQL refuses ALTER TABLE') as unknown });
    expect(await edge.query('SELECT FROM users')).toHaveLength(50);
    central.defaults = {};
    await central.publish();
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    await expectEqual();
  });

  test.each([
    ['companies', 'ALTER TABLE companies ALTER name TYPE varchar(40)', 0],
    ['companies', 'ALTER TABLE companies ALTER name TYPE text', 0],
    ['companies', 'ALTER TABLE companies ALTER name DROP NOT NULL', 0],
    ['companies', 'ALTER TABLE companies ALTER id TYPE bigint', 0],
    ['users', 'ALTER TABLE users ALTER company_id TYPE bigint', 0],
    ['users', 'ALTER TABLE users ALTER price TYPE numeric(12, 2)', 0],
    ['users', 'ALTER TABLE users ALTER price TYPE numeric', 0],
    ['users', 'ALTER TABLE users ALTER at TYPE timestamp', 0],
    ['areas', 'ALTER TABLE areas ALTER small TYPE int', 0],
    ['areas', 'ALTER TABLE areas ALTER ratio TYPE float8', 0],
  ])('%s: %s is done on the device, and nothing is downloaded', async (table, alter, bytes) => {
    await central.change(alter);
    expect(await edge.sync()).toMatchObject({ status: 'Success', downloadedBytes: bytes });
    expect(await columns(table)).toEqual(await queryColumns(source, table));
    await expectEqual();
  });

  test('several changes at once, with rows that need them', async () => {
    await central.change(`
      ALTER TABLE companies ALTER name TYPE text, ALTER id TYPE bigint;
      ALTER TABLE users ADD note text, ALTER company_id TYPE bigint, ALTER price DROP NOT NULL;
      INSERT INTO companies VALUES (5000000000, repeat('long', 30));
      UPDATE users SET company_id = 5000000000, price = NULL, note = 'x' WHERE id % 2 = 0`);
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    await expectEqual();
    expect(await columns('users')).toEqual(await queryColumns(source, 'users'));
  });

  test('a key that is text keeps the order of its bytes', async () => {
    await central.change("CREATE TABLE named (name varchar(5) PRIMARY KEY); INSERT INTO named VALUES ('a'), ('B')");
    await using other = await pairOf(['named']);
    await other.central.change('ALTER TABLE named ALTER name TYPE text');
    expect(await other.edge.sync()).toMatchObject({ status: 'Success', downloadedBytes: 0 });
    const [{ collation }] = (await other.edge.query(
      `SELECT attcollation::regcollation::text AS collation FROM pg_attribute WHERE attrelid = 'named'::regclass AND attname = 'name'`,
    )) as [{ collation: string }];
    expect(collation).toBe('"C"');
    expect(await other.edge.sync()).toMatchObject({ status: 'Unchanged' });
  });

  test('a column that left the plan is dropped from a table that Waypost created, without a download', async () => {
    await central.change('ALTER TABLE users DROP COLUMN at');
    expect(await edge.sync()).toMatchObject({ status: 'Success', downloadedBytes: 0 });
    await expectEqual();
    expect(await changes()).toEqual([{ object: 'users', statement: 'ALTER TABLE "public"."users" DROP COLUMN "at"' }]);
  });

  test.each([
    ['a view', 'CREATE VIEW v AS SELECT id, at FROM users', 'view public.v'],
    ['an index of the owner’s', 'CREATE INDEX mine ON users (at)', 'index public.mine'],
  ])('%s that depends on a column which left keeps it, and the sync is refused', async (_, sql, what) => {
    await edge.query(sql);
    await central.change("ALTER TABLE users DROP COLUMN at; UPDATE companies SET name = 'new' WHERE id = 1");
    const answer = await edge.sync();
    expect(answer).toMatchObject({ code: 'SCHEMA_MISMATCH', detail: expect.stringContaining(what) as unknown });
    expect(answer.detail).toContain('ALTER TABLE "public"."users" DROP COLUMN "at"');
    expect(await edge.query('SELECT at FROM users WHERE id = 1')).toEqual([{ at: expect.any(Date) as Date }]);
    expect(await edge.query('SELECT name FROM companies WHERE id = 1')).toEqual([{ name: 'c1' }]);
  });

  test('a view on a column whose type is to change: the sync is refused before a download, and heals without the view', async () => {
    await edge.query('CREATE VIEW v AS SELECT company_id FROM users');
    await central.change('ALTER TABLE users ALTER company_id TYPE bigint');
    expect(await edge.sync()).toMatchObject({
      code: 'SCHEMA_MISMATCH',
      detail: expect.stringMatching(/view public.v depends on it \(drop that, then run/) as unknown,
    });
    expect(central.downloads('users')).toBe(1);
    await edge.query('DROP VIEW v');
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    await expectEqual();
  });

  test.each([
    [
      'ALTER TABLE users RENAME company_id TO firm_id',
      /users lacks column firm_id integer, which company_id may have become \(run ALTER TABLE "public"."users" RENAME COLUMN "company_id" TO "firm_id"\)/,
    ],
    [
      'ALTER TABLE companies ALTER name TYPE varchar(10)',
      /companies.name is character varying\(20\) here, character varying\(10\) in the manifest/,
    ],
    ['ALTER TABLE users ALTER price TYPE numeric(8, 1)', /users.price is numeric\(8,2\) here, numeric\(8,1\) in the manifest/],
    ['ALTER TABLE users ALTER level TYPE text', /users.level is public.level here, text in the manifest/],
    [
      'ALTER TABLE users DROP CONSTRAINT users_pkey, ADD PRIMARY KEY (id, company_id)',
      /has the key \(id\) here, \(id, company_id\) in the manifest/,
    ],
    ["ALTER TYPE level RENAME VALUE 'low' TO 'least'", /the enum type public.level has the labels low, high here, the labels least, high/],
  ])('%s: the device keeps its last good data, says why, and tells central', async (alter, reason) => {
    await central.change(`${alter}; UPDATE areas SET name = 'new'`);
    const before = await rows(edge.databaseUrl, 'areas');
    expect(await edge.sync()).toMatchObject({ httpStatus: 409, code: 'SCHEMA_MISMATCH', detail: expect.stringMatching(reason) as unknown });
    expect(await rows(edge.databaseUrl, 'areas')).toEqual(before);
    expect(central.acks.at(-1)).toMatchObject({ status: 'Failed', error: expect.stringMatching(reason) as unknown });
    expect((await edge.status()).alert).toMatchObject({ code: 'SCHEMA_MISMATCH' });
    expect(await changes()).toEqual([]);
  });
});

describe('labels', () => {
  beforeEach(() => start());

  const labels = () => edge.query("SELECT enumlabel AS label FROM pg_enum WHERE enumtypid = 'level'::regtype ORDER BY enumsortorder");

  test('are added in their places, and rows that have them come in the same cycle', async () => {
    await central.change(`
      ALTER TYPE level ADD VALUE 'middle' BEFORE 'high'; ALTER TYPE level ADD VALUE 'it''s \\lowest' BEFORE 'low'; ALTER TYPE level ADD VALUE 'top'`);
    await central.change("UPDATE users SET level = 'middle' WHERE id = 1; UPDATE users SET level = E'it''s \\\\lowest' WHERE id = 2");
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    expect((await labels()).map((row) => (row as { label: string }).label)).toEqual(["it's \\lowest", 'low', 'middle', 'high', 'top']);
    await expectEqual();
    expect(await changes()).toHaveLength(3);
  });

  test('that no row has yet are added without a download', async () => {
    await central.change("ALTER TYPE level ADD VALUE 'middle' BEFORE 'high'");
    expect(await edge.sync()).toMatchObject({ status: 'Success', downloadedBytes: 0 });
    await expectEqual();
  });

  test('stay where the load that needs them fails, which harms nothing', async () => {
    await edge.query('ALTER TABLE areas ADD CONSTRAINT few CHECK (id < 6)');
    await central.change("ALTER TYPE level ADD VALUE 'middle' BEFORE 'high'");
    await central.change("UPDATE users SET level = 'middle' WHERE id = 1; INSERT INTO areas VALUES (6)");
    expect(await edge.sync()).toMatchObject({ code: 'LOAD_REFUSED' });
    expect(await edge.query('SELECT level FROM users WHERE id = 1')).toEqual([{ level: 'low' }]);
    await edge.query('ALTER TABLE areas DROP CONSTRAINT few');
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    await expectEqual();
  });

  test('of a new column’s default, and of a type that comes with it, are made first', async () => {
    central.defaults = { users: [{ column: 'level2', value: 'middle' }], areas: [{ column: 'mood', value: 'fine' }] };
    await central.change("ALTER TYPE level ADD VALUE 'middle' BEFORE 'high'; CREATE TYPE mood AS ENUM ('fine', 'bad')");
    await central.change("ALTER TABLE users ADD level2 level NOT NULL DEFAULT 'middle'; ALTER TABLE areas ADD mood mood DEFAULT 'fine'");
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    await expectEqual();
  });
});

describe('a table that Waypost did not create', () => {
  const LOCAL = `
    CREATE TYPE level AS ENUM ('low', 'high');
    CREATE TABLE companies (id int PRIMARY KEY, name varchar(20) NOT NULL);
    CREATE TABLE users (id int PRIMARY KEY, company_id int NOT NULL, level level, price numeric(8, 2) NOT NULL, at timestamp(3));`;

  test('is altered, too, but keeps its columns and its NOT NULL', async () => {
    await start({}, LOCAL);
    await central.change('ALTER TABLE users ADD note text, ALTER company_id TYPE bigint, ALTER price DROP NOT NULL');
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    await expectEqual();
    expect(await columns('users')).toContainEqual(expect.objectContaining({ name: 'price', notNull: true }));
    await central.change('ALTER TABLE users DROP COLUMN at');
    const answer = await edge.sync();
    expect(answer).toMatchObject({
      code: 'SCHEMA_MISMATCH',
      detail: expect.stringContaining('users has a column at timestamp') as unknown,
    });
    await edge.query(/\(run (.*)\)/.exec(answer.detail!)![1]!);
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    await expectEqual();
  });

  test('and that the service’s role does not own is not altered: the right that is missing is named', async () => {
    await start({}, LOCAL);
    const [{ name }] = (await edge.query('SELECT current_database() AS name')) as [{ name: string }];
    const role = `${name}_role`;
    await edge.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'; ALTER DATABASE ${name} OWNER TO ${role};
      ALTER SCHEMA public OWNER TO ${role}; ALTER SCHEMA waypost OWNER TO ${role}; ALTER TABLE companies OWNER TO ${role}; ALTER TABLE areas OWNER TO ${role};
      GRANT ALL ON ALL TABLES IN SCHEMA public, waypost TO ${role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA waypost TO ${role}`);
    const url = new URL(edge.databaseUrl);
    [url.username, url.password] = [role, 'x'];
    await edge.restart({ DATABASE_URL: url.href });
    await central.change(
      "ALTER TABLE users ADD note text; ALTER TYPE level ADD VALUE 'middle'; UPDATE companies SET name = 'new' WHERE id = 1",
    );
    const answer = await edge.sync();
    expect(answer.detail).toMatch(
      /users lacks column note text, and the table belongs to \w+, so that \w+ may not alter it \(as \w+ run ALTER TABLE/,
    );
    expect(answer.detail).toMatch(/the enum type public.level has the labels .*, and the type belongs to \w+/);
    expect(await edge.query('SELECT name FROM companies WHERE id = 1')).toEqual([{ name: 'c1' }]);
    await edge.query(`ALTER TABLE users OWNER TO ${role}; ALTER TYPE level OWNER TO ${role}`);
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    await expectEqual();
  });
});

test('manual: each change waits for the owner, who is told what to run', async () => {
  await start({ SCHEMA_MODE: 'manual' });
  await central.change(`
    ALTER TYPE level ADD VALUE 'middle' BEFORE 'high'; ALTER TABLE users ADD note text, DROP COLUMN at, ALTER company_id TYPE bigint;
    ALTER TABLE companies ALTER name DROP NOT NULL; UPDATE areas SET name = 'new'`);
  const answer = await edge.sync();
  expect(answer).toMatchObject({ code: 'SCHEMA_MISMATCH', hint: expect.stringContaining('SCHEMA_MODE=managed') as unknown });
  const statements = [...answer.detail!.matchAll(/\(run ([^)]*?)\)(?=;|\.$)/g)].map(([, statement]) => statement!);
  expect(statements).toHaveLength(5);
  expect(await edge.query("SELECT FROM areas WHERE name = 'new'")).toEqual([]);
  for (const statement of statements) await edge.query(statement);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  await expectEqual();
  expect(await changes()).toEqual([]);
});

describe('the transaction', () => {
  beforeEach(() => start());

  test('takes the changes back with the rows when the load fails', async () => {
    await edge.query('ALTER TABLE areas ADD CONSTRAINT few CHECK (id < 6)');
    await central.change('ALTER TABLE companies ALTER id TYPE bigint; ALTER TABLE users ADD note text; INSERT INTO areas VALUES (6)');
    const before = [await columns('users'), await columns('companies'), await files('companies')];
    expect(await edge.sync()).toMatchObject({ code: 'LOAD_REFUSED' });
    expect([await columns('users'), await columns('companies'), await files('companies')]).toEqual(before);
    expect(await changes()).toEqual([]);
    await edge.query('ALTER TABLE areas DROP CONSTRAINT few');
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    await expectEqual();
  });

  test('steps back from a reader of the table, and the next cycle succeeds', async () => {
    const reader = new pg.Client({ connectionString: edge.databaseUrl });
    await reader.connect();
    try {
      await reader.query('BEGIN; SELECT FROM users');
      await central.change('ALTER TABLE users ADD note text');
      expect(await edge.sync()).toMatchObject({ code: 'LOCK_TIMEOUT' });
      await reader.query('ROLLBACK');
    } finally {
      await reader.end();
    }
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    await expectEqual();
  });

  test('starts over where a table is altered while it downloads', async () => {
    await central.change("ALTER TABLE users ADD note text; UPDATE users SET note = 'x'; UPDATE areas SET name = 'new'");
    central.onRequest = async (path) => {
      if (path.includes('/tables/areas/')) await edge.query('ALTER TABLE users ADD note text');
      if (path.includes('/tables/')) central.onRequest = undefined;
    };
    await edge.sync();
    expect(await edge.sync()).toMatchObject({ status: expect.stringMatching(/Success|Unchanged/) as unknown });
    await expectEqual();
  });

  test('keeps secondary indexes, and follows those of columns that changed', async () => {
    const index = (operatorClass: string) => ({ name: 'i', method: 'btree', keys: [{ column: 'company_id', operatorClass }] });
    central.indexes = { users: [index('int4_ops')] };
    await central.publish();
    await edge.sync();
    const definitions = () => edge.query("SELECT indexdef FROM pg_indexes WHERE tablename = 'users' AND indexname LIKE 'waypost%'");
    expect(await definitions()).toHaveLength(1);
    central.indexes = { users: [index('int8_ops')] };
    await central.change('ALTER TABLE users ALTER company_id TYPE bigint');
    expect(await edge.sync()).toMatchObject({ status: 'Success', downloadedBytes: 0 });
    expect(await definitions()).toHaveLength(1);
    await central.change('ALTER TABLE users DROP COLUMN at');
    central.indexes = {};
    await central.publish();
    await edge.sync();
    expect(await definitions()).toEqual([]);
    await expectEqual();
  });
});

async function queryColumns(url: string, table: string) {
  return queryAt(
    url,
    `SELECT attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS "notNull", atthasdef AS "hasDefault"
     FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
    [table],
  );
}

/** A second device of the same source, with its first sync done. */
async function pairOf(tables: string[]) {
  const { FakeCentral } = await import('../../testing/fake-central.js');
  await using stack = new AsyncDisposableStack();
  const own = stack.use(await FakeCentral.start(source, tables));
  const { url } = await server.createDatabase('edge');
  const device = stack.use(await Edge.start({ databaseUrl: url, centralUrl: own.url }));
  expect(await device.sync()).toMatchObject({ status: 'Success' });
  const kept = stack.move();
  return { central: own, edge: device, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
