import { withClient } from '../../scripts/with-client.js';
import { startTestServer, TEST_FLEET } from './postgres.js';

const count = (url: string, what: string): Promise<number> =>
  withClient(url, async (client) => (await client.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${what}`)).rows[0]?.n as number);

test('databases are apart from each other, and gone when disposed of', async () => {
  await using server = await startTestServer();
  await using other = await server.createDatabase('same');
  {
    await using database = await server.createDatabase('same');
    expect(database.name).not.toBe(other.name);
    expect(await count(other.url, `pg_database WHERE datname = '${database.name}'`)).toBe(1);
  }
  expect(await count(other.url, `pg_database WHERE datname LIKE 'same%'`)).toBe(1);
});

test('each filled fleet is a copy of its own', async () => {
  await using server = await startTestServer();
  const [one, two] = await Promise.all([server.filledFleet(), server.filledFleet()]);
  expect(await count(one.url, 'users')).toBe(TEST_FLEET.users);
  await withClient(one.url, (client) => client.query('DELETE FROM group_members'));
  expect(await count(two.url, 'group_members')).toBeGreaterThan(0);
});
