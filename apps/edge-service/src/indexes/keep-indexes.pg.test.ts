import type { TableIndex } from '@waypost/contracts';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { Edge, queryAt } from '../../testing/edge.js';
import { FakeCentral } from '../../testing/fake-central.js';

/** Tables that Waypost creates get the secondary indexes that the manifest names, and nothing else is touched. */

const CREATE = `
  CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, email text, tags text[]);
  CREATE TABLE "Areas" (id int PRIMARY KEY, name text NOT NULL);
  INSERT INTO users SELECT g, 'u' || g, 'u' || g || '@x', ARRAY['t' || g] FROM generate_series(1, 50) g;
  INSERT INTO "Areas" SELECT g, 'a' || g FROM generate_series(1, 5) g;`;
const text = { operatorClass: 'text_ops' };
const byName: TableIndex = { name: 'users_name', method: 'btree', keys: [{ column: 'name', ...text }] };
const fancy: TableIndex = {
  name: 'fancy',
  method: 'btree',
  keys: [
    { expression: 'lower(name)', collation: 'C', operatorClass: 'text_pattern_ops', descending: true, nulls: 'last' },
    { column: 'id', operatorClass: 'int4_ops' },
  ],
  include: ['email'],
  predicate: "(email ~~ '%@x'::text)",
};
const byTags: TableIndex = { name: 'users_tags', method: 'gin', keys: [{ column: 'tags', operatorClass: 'array_ops' }] };

let server: TestServer;
let source: string;
let databaseUrl: string;
let central: FakeCentral;
let log: Record<string, unknown>[];

beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  log = [];
  source = (await server.createDatabase('source')).url;
  databaseUrl = (await server.createDatabase('edge')).url;
  await queryAt(source, CREATE);
  central = await FakeCentral.start(source, ['users', '"Areas"']);
});
afterEach(() => central[Symbol.asyncDispose]());
afterAll(() => server?.[Symbol.asyncDispose]());

const startEdge = (env = {}): Promise<Edge> =>
  Edge.start({ databaseUrl, centralUrl: central.url, env, onLog: (line) => void log.push(line) });
const warnings = () => log.filter(({ level }) => level === 'warn');
/** Definitions of the secondary indexes, without their names. */
const indexes = async (table = 'users'): Promise<string[]> => {
  const rows = await queryAt<{ definition: string }>(
    databaseUrl,
    `SELECT regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', '') AS definition FROM pg_index
     WHERE indrelid = to_regclass($1) AND NOT indisprimary ORDER BY 1`,
    [table],
  );
  return rows.map(({ definition }) => definition);
};
const publish = (of: Record<string, TableIndex[]>): Promise<unknown> => {
  central.indexes = of;
  return central.publish();
};

test('a table that Waypost creates gets the indexes as they are at central, named and commented as Waypost’s', async () => {
  await publish({ users: [byName, fancy, byTags], '"Areas"': [byName] });
  await using edge = await startEdge();
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await indexes()).toEqual([
    'btree (lower(name) COLLATE "C" text_pattern_ops DESC NULLS LAST, id) INCLUDE (email) WHERE (email ~~ \'%@x\'::text)',
    'btree (name)',
    'gin (tags)',
  ]);
  expect(await indexes('"Areas"')).toEqual(['btree (name)']);
  const comments = await edge.query(
    `SELECT obj_description(oid, 'pg_class') AS comment FROM pg_class WHERE relname ~ '^waypost_[0-9a-f]{16}$' ORDER BY 1`,
  );
  expect(comments).toContainEqual({ comment: 'Made by Waypost, as fancy of central' });
  expect(comments).toHaveLength(4);
  expect(warnings()).toEqual([]);
});

test.each(['auto', 'truncate', 'merge'])(
  'they follow the manifest without a download, and stay through loads (LOAD_STRATEGY=%s)',
  async (strategy) => {
    await publish({ users: [byName] });
    await using edge = await startEdge({ LOAD_STRATEGY: strategy });
    await edge.sync();
    const loaded = central.downloads('users');
    await publish({ users: [byTags] });
    expect(await edge.sync()).toMatchObject({ status: 'Unchanged', downloadedBytes: 0 });
    expect(await indexes()).toEqual(['gin (tags)']);
    expect(central.downloads('users')).toBe(loaded);
    await central.change("UPDATE users SET name = 'new', tags = '{x}' WHERE id = 1");
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    expect(await indexes()).toEqual(['gin (tags)']);
    await publish({});
    expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
    expect(await indexes()).toEqual([]);
  },
);

test('one that was made before stays as it is, and after a restart one that is missing is made', async () => {
  await publish({ users: [byName, byTags] });
  await using edge = await startEdge();
  await edge.sync();
  const oids = () =>
    edge.query<{ oid: number }>("SELECT indexrelid::int8 AS oid FROM pg_index WHERE indrelid = 'users'::regclass ORDER BY 1");
  const before = await oids();
  await edge.restart();
  await edge.sync();
  expect(await oids()).toEqual(before);
  const [{ name }] = (await edge.query<{ name: string }>("SELECT relname AS name FROM pg_class WHERE relname LIKE 'waypost%' LIMIT 1")) as [
    { name: string },
  ];
  await edge.query(`DROP INDEX ${name}`);
  await edge.restart();
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
  expect(await indexes()).toEqual(['btree (name)', 'gin (tags)']);
});

test('indexes of the owner’s, and tables that Waypost did not create, are left alone', async () => {
  await queryAt(databaseUrl, 'CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, email text, tags text[])');
  await publish({ users: [byName], '"Areas"': [byName] });
  await using edge = await startEdge();
  await edge.sync();
  expect(await indexes()).toEqual([]);
  await edge.query('CREATE INDEX waypost_0123456789abcdef ON "Areas" (id, name); CREATE INDEX mine ON "Areas" (lower(name))');
  await publish({});
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
  expect(await indexes('"Areas"')).toEqual(['btree (id, name)', 'btree (lower(name))']);
});

test('an index that cannot be made is a warning, once, and the others are made', async () => {
  const unknown = { ...byName, name: 'unknown', keys: [{ column: 'name', operatorClass: 'no_such_ops' }] };
  await publish({ users: [unknown, byName] });
  await using edge = await startEdge();
  expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  expect(await indexes()).toEqual(['btree (name)']);
  expect(warnings()).toMatchObject([{ msg: 'secondary index cannot be made here', index: 'unknown', hint: expect.any(String) as string }]);
  await publish({ users: [unknown, byTags] });
  await edge.sync();
  expect(await indexes()).toEqual(['gin (tags)']);
  expect(warnings()).toHaveLength(1);
});

test.each([
  ['a function of the device’s own', 'public.spy(name)', /function .*spy.* is not PostgreSQL’s own/],
  ['an operator of the device’s own', "(name OPERATOR(public.###) 'x'::text)", /operator .*###.* is not PostgreSQL’s own/],
  ['more than one expression', 'lower(name)), (lower(email)', /is not an expression|pseudo-type record/],
  ['a second statement', 'lower(name)); DROP TABLE users; --', /is not an expression/],
  ['a query', '(SELECT max(id) FROM public.users)', /cannot use subquery/],
  ['another table', '(SELECT max(secret) FROM own.secrets)', /secrets is not PostgreSQL’s own/],
  ['what is not immutable', '(clock_timestamp())::text', /must be marked IMMUTABLE/],
])('%s in an expression or a predicate is refused before anything of it runs', async (_, expression, message) => {
  await queryAt(
    databaseUrl,
    `CREATE TABLE called (by text); CREATE SCHEMA own; CREATE TABLE own.secrets (secret int);
     CREATE FUNCTION spy(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$BEGIN INSERT INTO called VALUES ($1); RETURN $1; END$$;
     CREATE FUNCTION spy2(text, text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$BEGIN INSERT INTO called VALUES ($1); RETURN true; END$$;
     CREATE OPERATOR ### (FUNCTION = spy2, LEFTARG = text, RIGHTARG = text)`,
  );
  const key: TableIndex = { ...byName, name: 'by_key', keys: [{ expression: `(${expression})`, ...text }] };
  const odd: TableIndex = { ...byName, name: 'odd', keys: [{ expression, ...text }] };
  const partial: TableIndex = { ...byName, name: 'partial', predicate: `(${expression} IS NOT NULL)` };
  await publish({ users: [key, odd, partial] });
  await using edge = await startEdge();
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await indexes()).toEqual([]);
  expect(await edge.query('SELECT FROM called')).toEqual([]);
  const messages = warnings().map(({ err }) => (err as { message: string }).message);
  expect(messages).toHaveLength(3);
  for (const found of messages) expect(found).toMatch(message);
});

test('a row that an index does not take is loaded without the indexes', async () => {
  const number = {
    name: 'number',
    method: 'btree',
    keys: [{ expression: '(email)::integer', operatorClass: 'int4_ops' }],
    predicate: "(name ~~ 'n%'::text)",
  };
  await publish({ users: [number, byTags] });
  await using edge = await startEdge();
  await edge.sync();
  expect(await indexes()).toHaveLength(2);
  await central.change("UPDATE users SET name = 'none', email = 'x' WHERE id = 1");
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query('SELECT email FROM users WHERE id = 1')).toEqual([{ email: 'x' }]);
  expect(warnings()).toContainEqual(expect.objectContaining({ msg: 'secondary indexes are dropped' }));
  await edge.restart();
  await edge.sync();
  expect(await indexes()).toEqual(['gin (tags)']);
});

test('while another session uses the table the next cycle makes the index', async () => {
  await publish({});
  await using edge = await startEdge();
  await edge.sync();
  const writer = new pg.Client({ connectionString: databaseUrl });
  await writer.connect();
  try {
    await writer.query('BEGIN; LOCK TABLE users IN ROW EXCLUSIVE MODE');
    await publish({ users: [byName] });
    expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
    expect(await indexes()).toEqual([]);
    await writer.query('ROLLBACK');
  } finally {
    await writer.end();
  }
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
  expect(await indexes()).toEqual(['btree (name)']);
});
