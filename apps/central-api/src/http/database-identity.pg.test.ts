import { DATABASE_HEADER, databaseFingerprint, LIVE_STREAM_TYPE } from '@waypost/contracts';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { startCentral } from '../../testing/central.js';
import { runSql } from '../../testing/sql.js';

/** Central tells which database it serves, and serves none that is a device's. */

const MAC = '48:b0:2d:e9:c3:b7';
const SCHEMA = `CREATE TABLE devices (mac text PRIMARY KEY, site int); INSERT INTO devices VALUES ('${MAC}', 1);
  CREATE TABLE sites (id int PRIMARY KEY); INSERT INTO sites VALUES (1), (2)`;
const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT site FROM devices WHERE mac = :mac
tables:
  - name: sites
    where: id = :site
`;

let server: TestServer;
let databaseUrl: string;

beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  databaseUrl = (await server.createDatabase('central')).url;
  await runSql(databaseUrl, SCHEMA);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

test('answers to a request carry the fingerprint of central’s database, and nothing else of it', async () => {
  await using central = await startCentral({ databaseUrl, plan: PLAN });
  const [own] = await central.sql<{ identity: string }>(
    "SELECT (pg_control_system()).system_identifier || '/' || (SELECT oid FROM pg_database WHERE datname = current_database()) AS identity",
  );
  for (const accept of ['application/json', `${LIVE_STREAM_TYPE}, application/json`]) {
    const headers = { 'content-type': 'application/json', accept };
    const answer = await fetch(`${central.url}/api/device-sync/request`, { method: 'POST', headers, body: JSON.stringify({ mac: MAC }) });
    await answer.arrayBuffer();
    expect(answer.headers.get(DATABASE_HEADER)).toBe(databaseFingerprint(own!.identity));
  }
});

test('a database with a device’s tables is refused before anything is written there', async () => {
  await runSql(databaseUrl, 'CREATE SCHEMA waypost; CREATE TABLE waypost.edge_sync_state (key text, value text)');
  await expect(startCentral({ databaseUrl, plan: PLAN })).rejects.toMatchObject({ code: 'WRONG_DATABASE' });
  const rows = await runSql(databaseUrl, "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('waypost')");
  expect(rows).toEqual([{ relname: 'edge_sync_state' }]);
});

test('a database that holds tables of both is central’s', async () => {
  await (await startCentral({ databaseUrl, plan: PLAN }))[Symbol.asyncDispose]();
  await runSql(databaseUrl, 'CREATE TABLE waypost.edge_sync_state (key text, value text)');
  await using central = await startCentral({ databaseUrl, plan: PLAN });
  expect((await central.manifestFor(MAC)).tables).toHaveLength(1);
});
