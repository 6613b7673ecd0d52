import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { Edge, queryAt } from '../../testing/edge.js';
import { FakeCentral } from '../../testing/fake-central.js';

/** Waypost writes only to tables that it made, that were empty when it first met them, or that their owner handed over. */

const CREATE = `
  CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL);
  CREATE TABLE areas (id int PRIMARY KEY, name text NOT NULL);
  INSERT INTO companies SELECT g, 'c' || g FROM generate_series(1, 5) g;
  INSERT INTO areas SELECT g, 'a' || g FROM generate_series(1, 5) g;`;
const OWN_ROWS = `
  CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL);
  INSERT INTO companies VALUES (70, 'own');`;

let server: TestServer;
let source: string;
let databaseUrl: string;
let central: FakeCentral;

beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  source = (await server.createDatabase('source')).url;
  await queryAt(source, CREATE);
  central = await FakeCentral.start(source, ['companies', 'areas']);
  databaseUrl = (await server.createDatabase('edge')).url;
});
afterEach(async () => {
  await central[Symbol.asyncDispose]();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const startEdge = (env = {}): Promise<Edge> => Edge.start({ databaseUrl, centralUrl: central.url, env });
const ids = async (table = 'companies'): Promise<number[]> =>
  (await queryAt<{ id: number }>(databaseUrl, `SELECT id FROM ${table} ORDER BY id`)).map(({ id }) => id);
const owned = () => queryAt(databaseUrl, 'SELECT relation, how FROM waypost.edge_owned_tables ORDER BY relation');

describe.each(['auto', 'truncate', 'merge'])('LOAD_STRATEGY=%s', (strategy) => {
  test('a table with rows of the device’s own refuses the sync before a download, and all such tables are named', async () => {
    await queryAt(
      databaseUrl,
      `${OWN_ROWS} CREATE TABLE areas (id int PRIMARY KEY, name text NOT NULL); INSERT INTO areas VALUES (80, 'own')`,
    );
    await using edge = await startEdge({ LOAD_STRATEGY: strategy });
    expect(await edge.sync()).toMatchObject({
      httpStatus: 409,
      code: 'TABLE_NOT_OURS',
      detail: expect.stringContaining('companies, areas') as unknown,
      hint: expect.stringContaining('waypost adopt companies areas') as unknown,
    });
    expect([await ids(), await ids('areas')]).toEqual([[70], [80]]);
    expect(central.downloads('companies')).toBe(0);
  });

  test('tables that were empty, and those that Waypost made, are its own from then on', async () => {
    await queryAt(databaseUrl, 'CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL)');
    await using edge = await startEdge({ LOAD_STRATEGY: strategy });
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    expect(await owned()).toEqual([
      { relation: '"public"."areas"', how: 'created' },
      { relation: '"public"."companies"', how: 'empty' },
    ]);
    await central.change("DELETE FROM companies WHERE id = 1; UPDATE areas SET name = 'b' WHERE id = 2");
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    expect(await ids()).toEqual([2, 3, 4, 5]);
  });

  test.each(['companies, sales.orders', '*'])('ADOPT_TABLES=%s hands a table over', async (tables) => {
    await queryAt(databaseUrl, OWN_ROWS);
    await using edge = await startEdge({ LOAD_STRATEGY: strategy, ADOPT_TABLES: tables });
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    expect(await ids()).toEqual([1, 2, 3, 4, 5]);
    expect(await owned()).toContainEqual({ relation: '"public"."companies"', how: 'adopted' });
  });
});

test('a table that was dropped and made again with rows is its maker’s', async () => {
  await using edge = await startEdge();
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  await edge.query(`DROP TABLE companies; ${OWN_ROWS}`);
  expect(await edge.sync()).toMatchObject({ code: 'TABLE_NOT_OURS' });
  expect(await ids()).toEqual([70]);
  await edge.query('DROP TABLE companies; CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL)');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
});

test('in a dump restored elsewhere, where every table has another oid, the name decides', async () => {
  await using edge = await startEdge();
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  await edge.query("UPDATE waypost.edge_owned_tables SET table_oid = 1, database = '1/1'");
  await central.change('DELETE FROM companies WHERE id = 1');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query("SELECT FROM waypost.edge_owned_tables WHERE database = '1/1' OR table_oid = 1")).toEqual([]);
});

test('what an earlier version mirrored counts as handed over', async () => {
  {
    await using edge = await startEdge();
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    await edge.query("DROP TABLE waypost.edge_owned_tables; DELETE FROM waypost.edge_migrations WHERE name LIKE 'CreateOwnedTables%'");
  }
  await using edge = await startEdge();
  await central.change('DELETE FROM companies WHERE id = 1');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await owned()).toEqual(['areas', 'companies'].map((name) => ({ relation: `"public"."${name}"`, how: 'earlier' })));
});

test('a partitioned table with a row in one partition is not empty', async () => {
  await queryAt(
    databaseUrl,
    `CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL) PARTITION BY LIST (id);
     CREATE TABLE companies_70 PARTITION OF companies FOR VALUES IN (70); CREATE TABLE companies_rest PARTITION OF companies DEFAULT;
     INSERT INTO companies VALUES (70, 'own')`,
  );
  await using edge = await startEdge();
  expect(await edge.sync()).toMatchObject({ code: 'TABLE_NOT_OURS' });
  expect(await ids()).toEqual([70]);
});

test('a manifest that names a table and a partition of it is refused', async () => {
  await queryAt(
    databaseUrl,
    `CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL) PARTITION BY LIST (id);
     CREATE TABLE areas PARTITION OF companies DEFAULT`,
  );
  await using edge = await startEdge();
  expect(await edge.sync()).toMatchObject({
    code: 'SCHEMA_MISMATCH',
    detail: expect.stringContaining('areas is a part of companies') as unknown,
  });
});

test('rows that another session is about to commit are not deleted: the load waits for it, and is refused', async () => {
  await queryAt(databaseUrl, 'CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL)');
  await using edge = await startEdge();
  const writer = new pg.Client({ connectionString: databaseUrl });
  await writer.connect();
  try {
    await writer.query("BEGIN; INSERT INTO companies VALUES (70, 'own')");
    const syncing = edge.sync();
    await until(async () => (await edge.query('SELECT FROM pg_locks WHERE NOT granted')).length > 0);
    await writer.query('COMMIT');
    expect(await syncing).toMatchObject({ code: 'TABLE_NOT_OURS' });
  } finally {
    await writer.end();
  }
  expect(await ids()).toEqual([70]);
});

test('rows that appear between the comparison and the load are not deleted', async () => {
  await queryAt(databaseUrl, 'CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL)');
  await using edge = await startEdge();
  central.onRequest = async (path) => {
    if (path.includes('/tables/companies/')) await queryAt(databaseUrl, "INSERT INTO companies VALUES (70, 'own')");
  };
  expect(await edge.sync()).toMatchObject({ code: 'TABLE_NOT_OURS' });
  expect(await ids()).toEqual([70]);
});
