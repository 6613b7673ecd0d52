import pg from 'pg';
import { startTestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { awaitsTable } from '../../testing/awaits-table.js';
import { startOwnCentral } from '../../testing/own-central.js';

const MAC = '02:00:00:00:00:01';
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, shop int NOT NULL);
  INSERT INTO devices VALUES ('${MAC}', 1);
  CREATE TABLE users (id int PRIMARY KEY, name text);
  INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 20) g;
  CREATE MATERIALIZED VIEW names AS SELECT id, name FROM users;
  CREATE VIEW short_names AS SELECT id, name FROM names;`;
const planOf = (name: string): string => `
version: 1
schemaVersion: 1
scope:
  query: SELECT shop FROM devices WHERE mac = :mac
tables:
  - name: users
  - name: ${name}
    key: [id]
`;

test.each([
  ['by itself', 'names', 'REFRESH MATERIALIZED VIEW names'],
  ['behind a view', 'short_names', 'REFRESH MATERIALIZED VIEW names'],
  [
    'by itself, replaced by another of its name',
    'names',
    'DROP MATERIALIZED VIEW names CASCADE; CREATE MATERIALIZED VIEW names AS SELECT id, name FROM users',
  ],
])('a materialized view, %s, that is refreshed while a snapshot begins is of the snapshot’s moment', async (_, name, refresh) => {
  await using server = await startTestServer();
  await using central = await startOwnCentral({ server, schema: SCHEMA, plan: planOf(name) });
  const writer = new pg.Client({ connectionString: central.databaseUrl });
  await writer.connect();
  try {
    await writer.query(`BEGIN; UPDATE users SET name = 'new ' || id; ${refresh}`);
    const asked = central.manifestFor(MAC);
    await until(() => awaitsTable(central.sql));
    await writer.query('COMMIT');
    const meanwhile = await asked;
    expect(meanwhile.tables.map(({ rowCount }) => rowCount)).toEqual([20, 20]);
    expect(meanwhile.tables).toEqual((await central.manifestFor(MAC)).tables);
  } finally {
    await writer.end();
  }
});
