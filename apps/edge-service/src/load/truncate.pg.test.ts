import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { type Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
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
  pair = await startFakePair({ server, source: CREATE, tables: TABLES, env: { LOAD_STRATEGY: 'truncate' } });
  ({ source, central, edge } = pair);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
});
afterEach(() => pair?.[Symbol.asyncDispose]());
afterAll(() => server?.[Symbol.asyncDispose]());

const companies = (url: string) => queryAt(url, 'SELECT * FROM companies ORDER BY id');

test('a local foreign key between mirrored tables makes the referencing one load too', async () => {
  await edge.query('ALTER TABLE users ADD FOREIGN KEY (company_id) REFERENCES companies');
  await central.change("UPDATE companies SET name = name || '!'");
  const answer = await edge.sync();
  expect(answer.tables.map(({ action }) => action)).toEqual(['loaded', 'loaded', 'unchanged']);
  expect(await companies(edge.databaseUrl)).toEqual(await companies(source));
});

test("a foreign key from a table of the device's own refuses the sync before anything is downloaded, and keeps its rows", async () => {
  await edge.query('CREATE TABLE readings (id int, company int REFERENCES companies); INSERT INTO readings VALUES (1, 1)');
  await central.change("UPDATE companies SET name = name || '!'");
  const downloads = central.downloads('companies');
  const answer = await edge.sync();
  expect(answer).toMatchObject({ httpStatus: 409, code: 'LOCAL_REFERENCE', ack: 'sent' });
  expect(answer.detail).toContain('public.readings');
  expect(central.downloads('companies')).toBe(downloads);
  expect(await edge.query('SELECT * FROM readings')).toHaveLength(1);
  expect(await companies(edge.databaseUrl)).toHaveLength(5);
  expect(central.acks.at(-1)).toMatchObject({ status: 'Failed', error: expect.stringContaining('LOCAL_REFERENCE') as unknown });
  await edge.query('DROP TABLE readings');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
});

test('a reader that holds a lock for long makes the load step back and try again, and then give up', async () => {
  await central.change("UPDATE companies SET name = name || '!'");
  const reader = new pg.Client({ connectionString: edge.databaseUrl });
  await reader.connect();
  await reader.query('BEGIN; SELECT * FROM companies');
  const before = await companies(edge.databaseUrl);
  const syncing = edge.sync();
  await until(async () => (await edge.query("SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'")).length > 0);
  expect(await syncing).toMatchObject({ httpStatus: 503, code: 'LOCK_TIMEOUT' });
  expect(await companies(edge.databaseUrl)).toEqual(before);
  await reader.query('COMMIT');
  await reader.end();
  const downloads = central.downloads('companies');
  expect(await edge.sync()).toMatchObject({ status: 'Success', downloadedBytes: 0 });
  expect(central.downloads('companies')).toBe(downloads);
});

test('a sync that waits for a lock goes on as soon as it is free', async () => {
  await central.change("UPDATE companies SET name = name || '!'");
  const reader = new pg.Client({ connectionString: edge.databaseUrl });
  await reader.connect();
  await reader.query('BEGIN; SELECT * FROM companies');
  const syncing = edge.sync();
  await until(async () => (await edge.query("SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'")).length > 0);
  await reader.query('COMMIT');
  await reader.end();
  expect(await syncing).toMatchObject({ status: 'Success' });
});
