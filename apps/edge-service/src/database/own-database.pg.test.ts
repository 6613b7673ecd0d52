import { databaseFingerprint } from '@waypost/contracts';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { Edge, queryAt } from '../../testing/edge.js';
import { FakeCentral } from '../../testing/fake-central.js';

/** An edge works on a database of its own alone, says why when it has none, and goes on by itself when it was replaced. */

const CREATE = `
  CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL);
  INSERT INTO companies SELECT g, 'c' || g FROM generate_series(1, 50) g;`;
const CENTRALS = 'CREATE SCHEMA waypost; CREATE TABLE waypost.central_state (key text, value text)';

let server: TestServer;
let source: string;
let database: { name: string; url: string };
let central: FakeCentral;

beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  source = (await server.createDatabase('source')).url;
  await queryAt(source, CREATE);
  const { url } = await server.createDatabase('edge');
  database = { url, name: new URL(url).pathname.slice(1) };
  central = await FakeCentral.start(source, ['companies']);
});
afterEach(async () => {
  await central[Symbol.asyncDispose]();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const edgeOn = (databaseUrl: string): Promise<Edge> => Edge.start({ databaseUrl, centralUrl: central.url });
const tablesOf = async (url: string): Promise<string[]> => {
  const rows = await queryAt<{ name: string }>(
    url,
    "SELECT relname AS name FROM pg_class WHERE relnamespace = to_regnamespace('waypost') ORDER BY 1",
  );
  return rows.map(({ name }) => name);
};

test('a database with central’s tables is refused before anything is written there', async () => {
  await queryAt(database.url, CENTRALS);
  await queryAt(
    database.url,
    "CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL); INSERT INTO companies VALUES (7, 'business')",
  );
  await using edge = await edgeOn(database.url);
  expect(await edge.sync()).toMatchObject({ httpStatus: 409, code: 'WRONG_DATABASE' });
  expect(await tablesOf(database.url)).toEqual(['central_state']);
  expect(await edge.query('SELECT id FROM companies')).toEqual([{ id: 7 }]);
  expect((await edge.status()).alert).toMatchObject({ code: 'WRONG_DATABASE' });
  expect(await (await fetch(`${edge.url}/health`)).json()).toMatchObject({ error: { migrations: { code: 'WRONG_DATABASE' } } });
  expect(central.requests).toEqual([]);
});

test('a database in which central’s tables appear under a running edge is not written to any more', async () => {
  await using edge = await edgeOn(database.url);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  await edge.query('CREATE TABLE waypost.central_state (key text, value text)');
  await central.change('DELETE FROM companies WHERE id > 10');
  expect(await edge.sync()).toMatchObject({ httpStatus: 409, code: 'WRONG_DATABASE' });
  expect(await edge.query('SELECT count(*)::int AS n FROM companies')).toEqual([{ n: 50 }]);
});

test.each(['with a manifest', 'with a live stream'])('the database that central says it serves is refused, %s', async (how) => {
  await using edge = await edgeOn(database.url);
  if (how === 'with a live stream') central.live = (records) => records;
  const [own] = await edge.query<{ identity: string }>(
    "SELECT (pg_control_system()).system_identifier || '/' || (SELECT oid FROM pg_database WHERE datname = current_database()) AS identity",
  );
  central.database = databaseFingerprint(own!.identity);
  expect(await edge.sync()).toMatchObject({ httpStatus: 409, code: 'WRONG_DATABASE' });
  expect(await edge.query("SELECT to_regclass('companies') AS found")).toEqual([{ found: null }]);
  central.database = databaseFingerprint('1/1');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
});

test('a database that is not there: status and sync/now tell the reason, the metrics have the alert, and the edge heals by itself', async () => {
  const missing = new URL(database.url);
  missing.pathname = `/${database.name}_missing`;
  await using edge = await Edge.start({ databaseUrl: missing.href, centralUrl: central.url, env: { SYNC_INTERVAL: '1s' } });
  await until(async () => (await edge.status()).alert !== null);
  const reason = expect.stringContaining('does not exist') as unknown;
  expect(await edge.status()).toMatchObject({ running: false, totals: null, alert: { code: 'DATABASE_UNAVAILABLE', detail: reason } });
  expect(await edge.sync()).toMatchObject({ httpStatus: 503, code: 'DATABASE_UNAVAILABLE', detail: reason });
  expect(await (await fetch(`${edge.url}/metrics`)).text()).toMatch(/^waypost_edge_alerts\{.*code="DATABASE_UNAVAILABLE".*\} 1$/m);
  await queryAt(database.url, `CREATE DATABASE ${database.name}_missing`);
  await until(async () => (await edge.status()).lastSuccess !== null);
  expect((await edge.status()).alert).toBeNull();
});

test('a request during a cycle that waits for its database is told the reason, not that a sync is running', async () => {
  const missing = new URL(database.url);
  missing.pathname = `/${database.name}_missing`;
  await using edge = await Edge.start({ databaseUrl: missing.href, centralUrl: central.url });
  await until(async () => (await edge.status()).alert !== null);
  const answers = await Promise.all([edge.sync(), edge.sync(), edge.sync()]);
  expect(answers.map(({ code }) => code)).toEqual(['DATABASE_UNAVAILABLE', 'DATABASE_UNAVAILABLE', 'DATABASE_UNAVAILABLE']);
});

test.each([
  [
    'the database is dropped and created again',
    async () => {
      await queryAt(source, `DROP DATABASE ${database.name} WITH (FORCE)`);
      await queryAt(source, `CREATE DATABASE ${database.name}`);
    },
  ],
  ['schema waypost and the mirrored tables are dropped', () => queryAt(database.url, 'DROP SCHEMA waypost CASCADE; DROP TABLE companies')],
])('%s under a running edge: the next cycle goes on as a new device, and the audit tells', async (_title, replace) => {
  await using edge = await edgeOn(database.url);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
  await replace();
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query('SELECT count(*)::int AS n FROM companies')).toEqual([{ n: 50 }]);
  expect(await edge.query('SELECT status, error_code FROM waypost.edge_sync_log ORDER BY id')).toEqual(
    expect.arrayContaining([
      { status: 'Failed', error_code: 'DATABASE_REPLACED' },
      { status: 'Success', error_code: null },
    ]),
  );
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
});

test('a role that may not make the schema is told which right it lacks', async () => {
  const role = `${database.name}_role`;
  await queryAt(database.url, `CREATE ROLE ${role} LOGIN PASSWORD 'secret'`);
  const url = new URL(database.url);
  url.username = role;
  url.password = 'secret';
  await using edge = await edgeOn(url.href);
  await until(async () => (await edge.status()).alert !== null);
  const fault = { code: 'DATABASE_UNAVAILABLE', hint: expect.stringContaining('CREATE SCHEMA waypost AUTHORIZATION') as unknown };
  expect((await edge.status()).alert).toMatchObject(fault);
  expect(await (await fetch(`${edge.url}/health`)).json()).toMatchObject({ error: { migrations: fault } });
  await queryAt(database.url, `CREATE SCHEMA waypost AUTHORIZATION ${role}; GRANT CREATE ON SCHEMA public TO ${role}`);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
});
