import { startTestServer, type TestServer } from '../test/support/postgres.js';
import { until } from '../test/support/until.js';
import { TABLE } from './dataset.js';
import { MirrorReaders } from './mirror-readers.js';
import { withClient } from './servers.js';

let server: TestServer;
beforeAll(async () => void (server = await startTestServer()));
afterAll(() => server?.[Symbol.asyncDispose]());

test('sums that do not agree are counted, and others are not', async () => {
  await using database = await server.createDatabase();
  const { url } = database;
  await withClient(url, async (client) => {
    await client.query(`CREATE TABLE ${TABLE} (id int PRIMARY KEY, quantity int); INSERT INTO ${TABLE} VALUES (1, 10), (2, 20)`);
    await client.query('CREATE TABLE totals (quantity bigint); INSERT INTO totals VALUES (30)');
    await using readers = await MirrorReaders.start(url, 2);
    await client.query(`WITH changed AS (UPDATE ${TABLE} SET quantity = quantity + 1 RETURNING 1) UPDATE totals SET quantity = 32`);
    await until(() => readers.sums >= 2);
    expect(readers.mixtures).toBe(0);
    await client.query('UPDATE totals SET quantity = 33');
    await until(() => readers.mixtures >= 1);
    const { row, sums } = readers.takeLatencies();
    expect(row.max).toBeGreaterThanOrEqual(row.p50);
    expect(sums.max).toBeGreaterThanOrEqual(sums.p50);
    expect(readers.takeLatencies().sums.max).not.toBe(sums.max);
  });
});

test('a row that a reader does not find fails the run', async () => {
  await using database = await server.createDatabase();
  await withClient(database.url, (client) =>
    client.query(`CREATE TABLE ${TABLE} (id int PRIMARY KEY, quantity int); CREATE TABLE totals (quantity bigint)`),
  );
  const readers = await MirrorReaders.start(database.url, 2);
  const read = async (): Promise<boolean> => {
    await readers.readFor(1);
    return false;
  };
  await expect(until(read)).rejects.toThrow(/Row \d is not there/);
  await expect(readers[Symbol.asyncDispose]()).rejects.toThrow(/Row \d is not there/);
});
