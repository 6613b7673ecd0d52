import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';

const MAC = '02:00:00:00:00:01';
const OTHER = '02:00:00:00:00:02';
const SCHEMA = `
  CREATE TABLE places (name text, company int);
  CREATE TABLE devices (mac macaddr, place text);
  INSERT INTO places VALUES ('north', 1), ('south', 2); INSERT INTO devices VALUES ('${MAC}', 'north'), ('${OTHER}', 'south');
  CREATE TABLE areas (id int, company int, size int, made text);
  INSERT INTO areas VALUES (1, 1, 5, '2026-01-01'), (2, 2, 5, '2026-01-01')`;
const PLAN = `version: 1
schemaVersion: 1
scope:
  query: SELECT (SELECT company FROM places p WHERE p.name = d.place) AS company FROM devices d WHERE d.mac = :mac
tables:
  - name: areas
    key: [id]
    where: company = :company AND 100 / size > 1 AND made::timestamptz > '2000-01-01 00:00Z'
`;

let server: TestServer;
let central: OwnCentral;

beforeAll(async () => {
  server = await startTestServer();
  central = await startOwnCentral({ server, schema: SCHEMA, plan: PLAN });
});
afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

test.each([
  ['a filter divides by zero', 'UPDATE areas SET size = 0 WHERE id = 1', 'UPDATE areas SET size = 5', 'query of areas', '22012'],
  ['a text is no date', "UPDATE areas SET made = 'never' WHERE id = 1", "UPDATE areas SET made = '2026-01-01'", 'query of areas', '22007'],
  [
    'a subquery of the scope has two rows',
    "INSERT INTO places VALUES ('north', 7)",
    'DELETE FROM places WHERE company = 7',
    'scope query',
    '21000',
  ],
])('%s: the refusal names the query, not the row, and others are served', async (_, spoil, mend, query, state) => {
  await central.manifestFor(MAC);
  await central.sql(spoil);
  const { status, body } = await central.post('/api/device-sync/request', { mac: MAC });
  expect({ status, code: body.code }).toEqual({ status: 500, code: 'PLAN_INVALID' });
  expect(body.detail).toBe(`The ${query} fails on a row of central's database (SQLSTATE ${state}).`);
  expect(body.hint).toContain("Central's log");
  if (query === 'scope query') await central.manifestFor(OTHER);
  await central.sql(mend);
  await central.manifestFor(MAC);
});
