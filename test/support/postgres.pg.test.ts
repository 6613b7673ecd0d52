import { withClient } from '../../scripts/with-client.js';
import { startTestServer } from './postgres.js';

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

test('a database of an image has its roles: the service writes its own schema alone, and the owner cannot write to the mirror', async () => {
  await using server = await startTestServer();
  const [central, edge] = [await server.createSide('central'), await server.createSide('edge')];
  const run = (url: string, sql: string): Promise<unknown> => withClient(url, (client) => client.query(sql));
  await run(central.ownerUrl, 'CREATE TABLE things AS SELECT 1 AS id; CREATE SCHEMA more; CREATE TABLE more.things AS SELECT 1 AS id');
  expect(await count(central.serviceUrl, 'things, more.things')).toBe(1);
  await run(central.serviceUrl, 'CREATE TABLE waypost.own AS SELECT 1 AS id');
  await expect(run(central.serviceUrl, 'DELETE FROM things')).rejects.toThrow(/permission denied/);
  await expect(run(central.serviceUrl, 'CREATE TABLE public.mine ()')).rejects.toThrow(/permission denied/);
  await expect(run(central.ownerUrl, 'TABLE waypost.own')).rejects.toThrow(/permission denied/);
  await run(edge.serviceUrl, 'CREATE TABLE mirrored (id int PRIMARY KEY)');
  await expect(run(edge.ownerUrl, 'DELETE FROM mirrored')).rejects.toThrow(/permission denied/);
});
