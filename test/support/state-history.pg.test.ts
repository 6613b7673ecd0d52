import type pg from 'pg';
import { testPool } from './test-pool.js';
import { startTestServer, type TestServer } from './postgres.js';
import { StateHistory } from './state-history.js';

const TABLES = [
  { name: 'a', key: 'id', where: 'site = :site_id' },
  { name: 'b', key: 'id' },
];
const CREATE = 'CREATE TABLE a (id int, site int); CREATE TABLE b (id int); INSERT INTO a VALUES (1, 1), (2, 2); INSERT INTO b VALUES (1)';

let server: TestServer;
let central: pg.Pool;
let edge: pg.Pool;
let history: StateHistory;

beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  central = testPool((await server.createDatabase('central')).url, 10);
  edge = testPool((await server.createDatabase('edge')).url, 10);
  for (const pool of [central, edge]) pool.on('error', () => undefined); // the server ends before the last connection does
  history = new StateHistory(TABLES, 1, central, edge);
  await history.change(CREATE);
  await edge.query(`${CREATE}; DELETE FROM a WHERE site = 2`);
  await history.change('INSERT INTO a VALUES (3, 1); INSERT INTO b VALUES (3)');
  history.watch(false);
});
afterEach(async () => {
  await history.stop().catch(() => undefined);
  await Promise.all([central.end(), edge.end()]);
});
afterAll(() => server?.[Symbol.asyncDispose]());

/** Until the reader has looked once more from here on, or has given up. */
async function lookOnce(): Promise<void> {
  const before = history.looks;
  while (history.looks < before + 2) {
    history.check();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  history.check();
}

test('whole states of the device’s share, in order, are what a reader may see', async () => {
  await lookOnce();
  expect(await history.isEqual()).toBe(false);
  await edge.query('INSERT INTO a VALUES (3, 1); INSERT INTO b VALUES (3)');
  await lookOnce();
  expect(await history.isEqual()).toBe(true);
  await history.stop();
});

test('a reader who sees one table changed and the other not finds it out', async () => {
  await edge.query('INSERT INTO a VALUES (3, 1)');
  await expect(lookOnce()).rejects.toThrow('what central never held');
});

test('a reader who sees an older state than before finds it out', async () => {
  await edge.query('INSERT INTO a VALUES (3, 1); INSERT INTO b VALUES (3)');
  await lookOnce();
  await edge.query('DELETE FROM a WHERE id = 3; DELETE FROM b WHERE id = 3');
  await expect(lookOnce()).rejects.toThrow('an older state');
});
