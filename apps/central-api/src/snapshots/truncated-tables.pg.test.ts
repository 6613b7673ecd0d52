import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { awaitsTable } from '../../testing/awaits-table.js';
import { startOwnCentral } from '../../testing/own-central.js';

const MAC = '02:00:00:00:00:01';
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, shop int NOT NULL);
  INSERT INTO devices VALUES ('${MAC}', 1);
  CREATE TABLE members (user_id int PRIMARY KEY, shop int NOT NULL) PARTITION BY RANGE (user_id);
  CREATE TABLE members_all PARTITION OF members DEFAULT;
  INSERT INTO members SELECT g, 1 FROM generate_series(1, 10) g;
  CREATE TABLE users (id int PRIMARY KEY, name text);
  INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 20) g;
  CREATE TABLE prices (id int PRIMARY KEY, price numeric);
  INSERT INTO prices SELECT g, 1 FROM generate_series(1, 20) g;
  CREATE VIEW cheap AS SELECT id, price FROM prices WHERE price < 100;`;
const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT shop FROM devices WHERE mac = :mac
tables:
  - name: users
    where: EXISTS (SELECT FROM members WHERE members.user_id = users.id AND members.shop = :shop)
  - name: cheap
    key: [id]
`;

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

test.each([
  ['mirrors', 'prices', 'INSERT INTO prices SELECT g, 2 FROM generate_series(1, 20) g'],
  ['only joins', 'members', 'INSERT INTO members SELECT g, 1 FROM generate_series(1, 10) g'],
  ['only joins, directly in its partition', 'members_all', 'INSERT INTO members SELECT g, 1 FROM generate_series(1, 10) g'],
  ['asks for the scope', 'devices', `INSERT INTO devices VALUES ('${MAC}', 1)`],
])('a table that the plan %s is truncated and filled again meanwhile: no manifest knows it empty', async (_, table, refill) => {
  await using central = await startOwnCentral({ server, schema: SCHEMA, plan: PLAN });
  const writer = new pg.Client({ connectionString: central.databaseUrl });
  await writer.connect();
  try {
    await writer.query(`BEGIN; TRUNCATE ${table}; ${refill}; UPDATE users SET name = 'new ' || id`);
    const asked = central.manifestFor(MAC);
    await until(() => awaitsTable(central.sql));
    await writer.query('COMMIT');
    const meanwhile = await asked;
    const after = await central.manifestFor(MAC);
    expect(meanwhile.tables.map(({ name, rowCount }) => [name, rowCount])).toEqual([
      ['users', 10],
      ['cheap', 20],
    ]);
    expect(meanwhile.tables).toEqual(after.tables);
  } finally {
    await writer.end();
  }
});
