import type pg from 'pg';
import { testPool } from '../support/test-pool.js';
import { withClient } from '../../scripts/with-client.js';
import { startTestServer, type TestServer } from '../support/postgres.js';
import { addColumn, createHistory } from './history.js';
import { type Difference, differing, Judge } from './judge.js';
import type { Shares } from './tables.js';

/** The judge itself: a judge that finds nothing proves nothing. */

const MAC = '02:00:00:00:00:01';
const SHARES: Shares = {
  scope: 'SELECT shop FROM devices WHERE mac = :mac',
  tables: [
    {
      name: 'devices',
      columns: [
        { name: 'mac', type: 'macaddr' },
        { name: 'shop', type: 'int' },
      ],
      key: ['mac'],
      where: 'shop = :shop',
    },
    {
      name: 'items',
      columns: [
        { name: 'id', type: 'int' },
        { name: 'shop', type: 'int' },
        { name: 'price', type: 'numeric' },
        { name: 'secret', type: 'text' },
      ],
      key: ['id'],
      listed: ['id', 'price'],
      where: 'EXISTS (SELECT FROM devices d WHERE d.shop = items.shop AND d.shop = :shop)',
    },
  ],
};
const CENTRAL = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, shop int);
  INSERT INTO devices VALUES ('${MAC}', 1), ('02:00:00:00:00:02', 2);
  CREATE TABLE items (id int PRIMARY KEY, shop int, price numeric, secret text);
  INSERT INTO items SELECT n, 1 + n % 2, n / 4.0, 'secret' FROM generate_series(1, 100) AS n;
  CREATE SCHEMA waypost;
  CREATE TABLE waypost.manifests (manifest_id text, seen pg_snapshot)`;
const EDGE = `
  CREATE TABLE devices (mac macaddr, shop int);
  INSERT INTO devices VALUES ('${MAC}', 1);
  CREATE TABLE items (id int, price numeric);
  INSERT INTO items SELECT n, n / 4.0 FROM generate_series(2, 100, 2) AS n;
  CREATE SCHEMA waypost;
  CREATE TABLE waypost.edge_sync_state (key text, value text);
  INSERT INTO waypost.edge_sync_state VALUES ('manifest_id', 'm')`;

let server: TestServer;
let edge: string;
let central: pg.Pool;
let judge: Judge;

beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  const { url } = await server.createDatabase('central');
  edge = (await server.createDatabase('edge')).url;
  central = testPool(url, 4);
  central.on('error', () => undefined); // the server may end before the last connection does
  await central.query(`${CENTRAL}; ${createHistory(SHARES.tables)}`);
  await onEdge(EDGE);
  judge = new Judge(SHARES, central);
});
afterEach(() => central.end());
afterAll(() => server?.[Symbol.asyncDispose]());

const onEdge = (sql: string): Promise<unknown> => withClient(edge, (client) => client.query(sql));

async function differences(moment: string): Promise<Difference[]> {
  const held = await judge.mirror(edge);
  const wrong = differing(await judge.share(MAC, moment, held.added), held.digests);
  return judge.explain({ mac: MAC, url: edge, held }, moment, wrong);
}

test('a device that holds its share is found equal', async () => {
  expect(await judge.mirror(edge)).toMatchObject({
    manifestId: 'm',
    digests: [
      { table: 'devices', rows: 1 },
      { table: 'items', rows: 50 },
    ],
  });
  expect(await differences('now')).toEqual([]);
  expect(await differences(await judge.snapshot())).toEqual([]);
});

test.each([
  ['a row with another value', 'UPDATE items SET price = 7 WHERE id = 8', ['- {8,2.0000000000000000}', '+ {8,7}', '1 missing, 1 surplus']],
  [
    'an equal value with other bytes',
    'UPDATE items SET price = 2.0 WHERE id = 8',
    ['- {8,2.0000000000000000}', '+ {8,2.0}', '1 missing, 1 surplus'],
  ],
  ['a row that is missing', 'DELETE FROM items WHERE id = 8', ['- {8,2.0000000000000000}', '1 missing, 0 surplus']],
  ['a row that only another device may see', 'INSERT INTO items VALUES (7, 1.75)', ['+ {7,1.75}', '0 missing, 1 surplus']],
  ['a row that is there twice', 'INSERT INTO items SELECT * FROM items WHERE id = 8', ['0 missing, 0 surplus']],
])('%s is reported', async (_name, sql, rows) => {
  await onEdge(sql);
  expect(await differences('now')).toEqual([{ table: 'items', rows }]);
  expect(await differences(await judge.snapshot())).toEqual([{ table: 'items', rows }]);
});

test('a column that is not listed, and rows of others, make no difference', async () => {
  await central.query("UPDATE items SET secret = 'other'; DELETE FROM items WHERE shop = 2");
  expect(await differences('now')).toEqual([]);
});

test('a column that was added at both is compared, too', async () => {
  await central.query(addColumn('devices', 'added_1 int NOT NULL DEFAULT 7'));
  await onEdge('ALTER TABLE devices ADD COLUMN added_1 int');
  const rows = [`- {${MAC},1,7}`, `+ {${MAC},1,NULL}`, '1 missing, 1 surplus'];
  expect(await differences('now')).toEqual([{ table: 'devices', rows }]);
  await onEdge('UPDATE devices SET added_1 = 7');
  expect(await differences('now')).toEqual([]);
  expect(await differences(await judge.snapshot())).toEqual([]);
});

test('the share at a snapshot is what its transaction read, whatever was open, undone or done since', async () => {
  const [reader, writer] = [await central.connect(), await central.connect()];
  await writer.query('BEGIN; UPDATE items SET price = 1 WHERE id < 20; SAVEPOINT here; DELETE FROM items; ROLLBACK TO here');
  await central.query('UPDATE items SET price = 2 WHERE id BETWEEN 30 AND 40; BEGIN; DELETE FROM items WHERE id > 90; ROLLBACK');
  await reader.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  const { rows } = await reader.query<{ snapshot: string; prices: string }>(
    "SELECT pg_current_snapshot()::text AS snapshot, (SELECT string_agg(id || '=' || price, ' ' ORDER BY id) FROM items WHERE shop = 1) AS prices",
  );
  const [{ snapshot, prices } = { snapshot: '', prices: '' }] = rows;
  await reader.query('COMMIT');
  await writer.query('COMMIT');
  await central.query('UPDATE items SET id = id + 1000; UPDATE items SET shop = 3 - shop; INSERT INTO items VALUES (2, 1, 5)');
  expect(await judge.wrongHistory()).toEqual([]);
  await central.query('TRUNCATE items');
  expect(await judge.wrongHistory()).toEqual([]);

  await onEdge('TRUNCATE items');
  const [difference] = await differences(snapshot);
  expect(difference?.rows.at(-1)).toBe('50 missing, 0 surplus');
  const pairs = prices.split(' ').map((pair) => `(${pair.replace('=', ',')})`);
  await onEdge(`INSERT INTO items VALUES ${pairs.join(', ')}`);
  expect(await differences(snapshot)).toEqual([]);
  expect(await differences('now')).toHaveLength(1);
  for (const client of [reader, writer]) client.release();
});

test('a manifest is judged at its own snapshot, and one from before the cycle at the begin of the cycle', async () => {
  const before = await judge.snapshot();
  await central.query('UPDATE items SET price = 1');
  const began = await judge.snapshot();
  await central.query('UPDATE items SET price = 2');
  const after = await judge.snapshot();
  await central.query("INSERT INTO waypost.manifests VALUES ('old', $1), ('new', $2), ('unknown', NULL)", [before, after]);
  expect(await judge.momentOf('old', began)).toBe(began);
  expect(await judge.momentOf('old')).toBe(before);
  expect(await judge.momentOf('new', began)).toBe(after);
  expect(await judge.momentOf('unknown', began)).toBeUndefined();
});
