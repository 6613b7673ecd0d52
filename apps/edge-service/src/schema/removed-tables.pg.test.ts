import { shapeFingerprint } from '@waypost/contracts';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { Edge, queryAt } from '../../testing/edge.js';
import { FakeCentral } from '../../testing/fake-central.js';

/** What becomes of tables that left the plan, and what the audit says of changes of shape. */

const TABLES = ['companies', 'users', 'areas'];
const CREATE = `
  CREATE TABLE companies (id int PRIMARY KEY, name text);
  CREATE TABLE users (id int PRIMARY KEY, company_id int);
  CREATE TABLE areas (id int PRIMARY KEY);
  INSERT INTO companies SELECT g, 'c' || g FROM generate_series(1, 5) g;
  INSERT INTO users SELECT g, 1 + g % 5 FROM generate_series(1, 9) g;
  INSERT INTO areas SELECT g FROM generate_series(1, 3) g;`;

let server: TestServer;
let central: FakeCentral;
let edge: Edge;
let log: Record<string, unknown>[];

beforeAll(async () => {
  server = await startTestServer();
});
afterEach(async () => {
  await edge?.[Symbol.asyncDispose]();
  await central?.[Symbol.asyncDispose]();
});
afterAll(() => server?.[Symbol.asyncDispose]());

async function start(local?: string): Promise<void> {
  const [{ url: source }, { url: databaseUrl }] = [await server.createDatabase('source'), await server.createDatabase('edge')];
  await queryAt(source, CREATE);
  if (local !== undefined) await queryAt(databaseUrl, local);
  central = await FakeCentral.start(source, TABLES);
  log = [];
  edge = await Edge.start({ databaseUrl, centralUrl: central.url, onLog: (line) => void log.push(line) });
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
}

async function leave(tables: string[], onRemoved?: 'keep' | 'drop'): Promise<void> {
  central.tables = TABLES.filter((table) => !tables.includes(table));
  central.onRemoved = onRemoved;
  await central.publish();
}

const owned = async () =>
  (await edge.query<{ relation: string }>('SELECT relation FROM waypost.edge_owned_tables ORDER BY 1')).map((row) => row.relation);
const isThere = async (table: string) =>
  (await edge.query<{ there: boolean }>('SELECT to_regclass($1) IS NOT NULL AS there', [table]))[0]!.there;
const changes = () => edge.query('SELECT object, statement FROM waypost.edge_schema_changes ORDER BY id');

test.each([[undefined], ['keep' as const]])(
  'onRemoved %s: the table stays with its rows, is no longer Waypost’s, and is written down once',
  async (onRemoved) => {
    await start();
    await leave(['areas'], onRemoved);
    expect(await edge.sync()).toMatchObject({ status: 'Unchanged', ack: 'sent' });
    await central.publish();
    expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
    expect(await edge.query('SELECT FROM areas')).toHaveLength(3);
    expect(await owned()).toEqual(['"public"."companies"', '"public"."users"']);
    expect(await changes()).toEqual([{ object: 'areas', statement: 'not mirrored any more' }]);
    expect(log.filter(({ msg }) => String(msg).startsWith('table left the plan'))).toHaveLength(1);
  },
);

test('a table that comes back holds rows of the device then, which nothing overwrites until they are handed over', async () => {
  await start();
  await leave(['areas']);
  await edge.sync();
  await edge.query('INSERT INTO areas VALUES (70)');
  await leave([]);
  expect(await edge.sync()).toMatchObject({ code: 'TABLE_NOT_OURS' });
  expect(await edge.query('SELECT FROM areas')).toHaveLength(4);
  await edge.restart({ ADOPT_TABLES: 'areas' });
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query('SELECT FROM areas')).toHaveLength(3);
});

test('a table that comes back as it had left is Waypost’s again, whatever central has by then', async () => {
  await start();
  await leave(['areas']);
  await edge.sync();
  await central.change('INSERT INTO areas VALUES (4); DELETE FROM areas WHERE id = 1');
  await leave([]);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query('SELECT id FROM areas ORDER BY id')).toEqual([{ id: 2 }, { id: 3 }, { id: 4 }]);
  expect(await owned()).toContain('"public"."areas"');
  expect(await edge.query('SELECT FROM waypost.edge_left_tables')).toEqual([]);
  expect(log.filter(({ msg }) => String(msg).startsWith('tables came back into the plan'))).toMatchObject([{ tables: ['areas'] }]);
  await leave(['areas'], 'drop');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await isThere('areas')).toBe(false);
});

test.each<[string, string, string?]>([
  ['a row that is altered', 'UPDATE users SET company_id = 5 WHERE id = 1'],
  ['a row that is gone', 'DELETE FROM users WHERE id = 1'],
  ['a column of the device’s own', "ALTER TABLE users ADD mine text DEFAULT 'mine'", 'SCHEMA_MISMATCH'],
  [
    'another table of that name',
    'ALTER TABLE users RENAME TO before; CREATE TABLE users AS TABLE before; ALTER TABLE users ADD PRIMARY KEY (id)',
  ],
])('%s: a table that comes back otherwise than it left is the device’s', async (_, sql, code = 'TABLE_NOT_OURS') => {
  await start();
  await leave(['users']);
  await edge.sync();
  await edge.query(sql);
  const rows = await edge.query('SELECT u::text FROM users u ORDER BY id');
  await leave([]);
  expect(await edge.sync()).toMatchObject({ code });
  expect(await edge.query('SELECT u::text FROM users u ORDER BY id')).toEqual(rows);
});

test('drop: tables that Waypost created are dropped in the transaction, those that reference others first', async () => {
  await start();
  await edge.query('ALTER TABLE users ADD FOREIGN KEY (company_id) REFERENCES companies');
  await leave(['companies', 'users'], 'drop');
  expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  expect([await isThere('companies'), await isThere('users'), await isThere('areas')]).toEqual([false, false, true]);
  expect(await owned()).toEqual(['"public"."areas"']);
  expect(await changes()).toEqual([
    { object: 'users', statement: 'DROP TABLE "public"."users"' },
    { object: 'companies', statement: 'DROP TABLE "public"."companies"' },
  ]);
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
  await leave([]);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query('SELECT FROM users')).toHaveLength(9);
});

test('drop: a table that something of the device’s own depends on stays, with a warning', async () => {
  await start();
  await edge.query('CREATE VIEW v AS SELECT * FROM areas; CREATE TABLE own (user_id int REFERENCES users)');
  await leave(['areas', 'users'], 'drop');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect([await isThere('areas'), await isThere('users'), await isThere('v')]).toEqual([true, true, true]);
  expect(log.filter(({ level }) => level === 'warn')).toMatchObject([
    { table: 'areas', because: expect.stringContaining('other objects depend on it') as unknown },
    { table: 'users', because: expect.stringContaining('other objects depend on it') as unknown },
  ]);
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
});

test('drop: tables that the device’s owner made stay, whatever central says, and others are not even named', async () => {
  await start('CREATE TABLE areas (id int PRIMARY KEY); CREATE TABLE mine (id int)');
  await leave(['areas'], 'drop');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect([await isThere('areas'), await isThere('mine')]).toEqual([true, true]);
  expect(await changes()).toEqual([{ object: 'areas', statement: 'not mirrored any more: kept, Waypost did not create it' }]);
});

test('drop: waits for a reader as a load does, and is taken back when the load fails', async () => {
  await start();
  const reader = new pg.Client({ connectionString: edge.databaseUrl });
  await reader.connect();
  try {
    await reader.query('BEGIN; SELECT FROM areas');
    await leave(['areas'], 'drop');
    expect(await edge.sync()).toMatchObject({ code: 'LOCK_TIMEOUT' });
    await reader.query('ROLLBACK');
  } finally {
    await reader.end();
  }
  await edge.query('ALTER TABLE companies ADD CHECK (id < 6)');
  await central.change("INSERT INTO companies VALUES (6, 'x')");
  expect(await edge.sync()).toMatchObject({ code: 'LOAD_REFUSED' });
  expect(await isThere('areas')).toBe(true);
  expect(await owned()).toHaveLength(3);
  await central.change('DELETE FROM companies WHERE id = 6');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await isThere('areas')).toBe(false);
});

test('another spelling of a name is no other table', async () => {
  await start();
  central.tables = ['companies', 'users', 'public.areas'];
  central.onRemoved = 'drop';
  await central.publish();
  expect(await edge.sync()).toMatchObject({ httpStatus: 200 });
  expect(await edge.query('SELECT FROM areas')).toHaveLength(3);
  expect(await owned()).toHaveLength(3);
});

test('the audit names the shapes before and after a change, where central does', async () => {
  await start();
  central.namesShapes = true;
  const first = await central.change('ALTER TABLE users ADD note text');
  await edge.sync();
  const second = await central.change('ALTER TABLE users ALTER company_id TYPE bigint');
  await edge.sync();
  const [before, after] = [first, second].map(({ tables }) => shapeFingerprint(tables[1]!));
  expect(before).not.toBe(after);
  expect(await edge.query('SELECT object, shape_from, shape_to FROM waypost.edge_schema_changes ORDER BY id')).toEqual([
    { object: 'users', shape_from: null, shape_to: before },
    { object: 'users', shape_from: before, shape_to: after },
  ]);
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
});
