import { once } from 'node:events';
import type pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { openCopyOut } from './copy-rows.js';
import { createPool, withClient } from './pool.js';
import { withTransaction } from './transaction.js';

let server: TestServer;
let url: string;
let pool: pg.Pool;
let idleErrors: Error[];

beforeAll(async () => {
  server = await startTestServer();
  ({ url } = await server.createDatabase('pool'));
});

afterAll(() => server?.[Symbol.asyncDispose]());

beforeEach(() => {
  idleErrors = [];
  pool = createPool({
    url,
    applicationName: 'test',
    maxConnections: 1,
    queueTimeoutMs: 5_000,
    onIdleError: (error) => idleErrors.push(error),
  });
});

afterEach(() => pool.end());

function pidOf(client: pg.ClientBase): Promise<number> {
  return client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid').then(({ rows }) => rows[0]?.pid as number);
}

/** Ends a connection from outside. */
async function terminate(pid: number): Promise<void> {
  const other = createPool({ url, applicationName: 'other', maxConnections: 1, onIdleError: () => undefined });
  await other.query('SELECT pg_terminate_backend($1, 5000)', [pid]);
  await other.end();
}

test('an idle connection that breaks is reported and replaced', async () => {
  const pid = await withClient(pool, pidOf);
  expect(await withClient(pool, pidOf)).toBe(pid);
  const broke = once(pool, 'error');
  await terminate(pid);
  await broke;
  expect(idleErrors).toHaveLength(1);
  expect(await withClient(pool, pidOf)).not.toBe(pid);
});

test('a connection is not used again after an error of any kind', async () => {
  let last = 0;
  for (const fail of [
    (client: pg.ClientBase) => client.query('SELECT 1 / 0'),
    () => Promise.reject(new Error('of mine')),
    async (client: pg.ClientBase) => terminate(await pidOf(client)).then(() => client.query('SELECT 1')),
    (client: pg.ClientBase) => client.query('BEGIN').then(() => Promise.reject(new Error('in a transaction'))),
  ]) {
    await expect(
      withClient(pool, async (client) => {
        expect(await pidOf(client)).not.toBe(last);
        last = await pidOf(client);
        await fail(client);
      }),
    ).rejects.toThrow();
  }
  expect(await withClient(pool, pidOf)).not.toBe(last);
});

test('a connection that breaks while it is idle does not end the process, nor is it used again', async () => {
  const pid = await withClient(pool, async (client) => {
    const own = await pidOf(client);
    const broke = once(client as unknown as NodeJS.EventEmitter, 'error');
    await terminate(own);
    await broke;
    return own;
  });
  expect(await withClient(pool, pidOf)).not.toBe(pid);
});

test('no connection to be had is DATABASE_UNAVAILABLE', async () => {
  const nowhere = createPool({
    url: 'postgres://u:secret@127.0.0.1:1/x',
    applicationName: 't',
    maxConnections: 1,
    onIdleError: () => undefined,
  });
  await expect(withClient(nowhere, pidOf)).rejects.toMatchObject({
    code: 'DATABASE_UNAVAILABLE',
    message: expect.not.stringContaining('secret'),
  });
  await nowhere.end();
});

describe('a transaction', () => {
  const count = () => pool.query<{ n: number }>('SELECT count(*)::int AS n FROM kept').then(({ rows }) => rows[0]?.n);

  beforeEach(() => pool.query('DROP TABLE IF EXISTS kept; CREATE TABLE kept (id int)'));

  test('is committed when its work returns', async () => {
    const write = (client: pg.ClientBase) =>
      withTransaction(client, 'READ WRITE', () => client.query('INSERT INTO kept VALUES (1)').then(() => 'done'));
    expect(await withClient(pool, write)).toBe('done');
    expect(await count()).toBe(1);
  });

  test('is rolled back when its work fails', async () => {
    const write = (client: pg.ClientBase) =>
      withTransaction(client, 'READ WRITE', async () => {
        await client.query('INSERT INTO kept VALUES (1)');
        throw new Error('changed my mind');
      });
    await expect(withClient(pool, write)).rejects.toThrow('changed my mind');
    expect(await count()).toBe(0);
  });

  test('whose failed statement was overlooked is no success', async () => {
    const write = (client: pg.ClientBase) =>
      withTransaction(client, 'READ WRITE', async () => {
        await client.query('INSERT INTO kept VALUES (1)');
        await client.query('SELECT 1 / 0').catch(() => undefined);
      });
    await expect(withClient(pool, write)).rejects.toMatchObject({ code: 'INTERNAL' });
    expect(await count()).toBe(0);
  });

  test('that only reads cannot write', async () => {
    const write = (client: pg.ClientBase) =>
      withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', () => client.query('INSERT INTO kept VALUES (1)'));
    await expect(withClient(pool, write)).rejects.toMatchObject({ code: '25006' });
  });

  test('with a COPY that is given up in the middle ends, and leaves the pool usable', async () => {
    const giveUp = (client: pg.ClientBase) =>
      withTransaction(client, 'READ WRITE', async () => {
        for await (const piece of openCopyOut(client, 'SELECT repeat(md5(n::text), 100) FROM generate_series(1, 100000) AS n', 'text')) {
          throw new Error(`enough after ${(piece as Buffer).length > 0}`);
        }
      });
    await expect(withClient(pool, giveUp)).rejects.toThrow('enough after true');
    expect(await pool.query('SELECT 1 AS one').then(({ rows }) => rows as unknown[])).toEqual([{ one: 1 }]);
  });
});
