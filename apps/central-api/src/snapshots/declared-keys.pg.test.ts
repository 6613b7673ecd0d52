import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';

const MAC = '02:00:00:00:00:01';
const SCHEMA = `
  CREATE TABLE readings (sensor text, at timestamptz, value numeric);
  CREATE VIEW latest AS SELECT DISTINCT ON (sensor) sensor, at, value FROM readings ORDER BY sensor, at DESC;
  CREATE MATERIALIZED VIEW totals AS SELECT sensor, sum(value) AS total FROM readings GROUP BY sensor;
  CREATE TABLE numbers (n numeric, v int);
  CREATE TABLE parents (id int PRIMARY KEY, v text);
  CREATE TABLE children () INHERITS (parents);
  CREATE TABLE counted (id int PRIMARY KEY)`;
const FILL = `
  TRUNCATE readings, numbers, parents;
  INSERT INTO readings SELECT 's' || g % 3, 'epoch'::timestamptz + g * interval '1 s', g FROM generate_series(1, 30) g;
  INSERT INTO parents VALUES (1, 'p'); INSERT INTO children VALUES (2, 'c');
  REFRESH MATERIALIZED VIEW totals`;

const PLAN = `
version: 1
schemaVersion: 1
scope: { query: "SELECT 1 AS shop WHERE :mac <> ''" }
tables:
  - { name: readings, key: [sensor, at], where: "sensor <> 'elsewhere'" }
  - { name: latest, key: [sensor] }
  - { name: totals, key: [sensor] }
  - { name: numbers, key: [n] }
  - { name: parents }
  - { name: counted }
`;

let server: TestServer;
let central: OwnCentral;

beforeAll(async () => {
  server = await startTestServer();
  central = await startOwnCentral({ server, schema: `${SCHEMA}; ${FILL}`, plan: PLAN });
});

beforeEach(() => central.sql(FILL));

afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

test('views and tables whose declared key identifies their rows are given out', async () => {
  const { tables } = await central.manifestFor(MAC);
  expect(tables.map(({ name, rowCount, key }) => [name, rowCount, key])).toEqual([
    ['readings', 30, ['sensor', 'at']],
    ['latest', 3, ['sensor']],
    ['totals', 3, ['sensor']],
    ['numbers', 0, ['n']],
    ['parents', 2, ['id']],
    ['counted', 0, ['id']],
  ]);
});

test.each([
  [
    'a key that occurs twice',
    'INSERT INTO readings SELECT * FROM readings LIMIT 2',
    'sensor, at of readings',
    '2 of its values occur more than once',
  ],
  ['a NULL in a key', "INSERT INTO readings VALUES ('s1', NULL, 1)", 'sensor, at of readings', '1 rows have a NULL in it'],
  ['a NULL in a view’s key', "INSERT INTO readings VALUES (NULL, 'epoch', 1)", 'sensor of latest', '1 rows have a NULL in it'],
  [
    'a key that is equal though its bytes differ',
    'INSERT INTO numbers VALUES (1.0, 1), (1.00, 2)',
    'n of numbers',
    '1 of its values occur more than once',
  ],
  [
    'a key that an inheriting table repeats',
    "INSERT INTO children VALUES (1, 'c')",
    'id of parents',
    '1 of its values occur more than once',
  ],
])('%s is refused, and no device gets a wrong mirror', async (_, sql, key, fault) => {
  await central.sql(sql);
  const { status, body } = await central.post('/api/device-sync/request', { mac: MAC });
  expect({ status, code: body.code, detail: body.detail }).toEqual({
    status: 500,
    code: 'KEY_NOT_UNIQUE',
    detail: `The key ${key} does not identify its rows: ${fault}.`,
  });
  // The hint's statement finds the rows: messages give no values, which may be private.
  const [, statement] = /See which rows: (SELECT .*?)\. Correct/.exec(body.hint) as unknown as [string, string];
  expect(await central.sql(statement)).not.toEqual([]);
});
