import { startTestServer, type TestServer } from '../test/support/postgres.js';
import { TABLE } from './dataset.js';
import {
  changeHundred,
  fillDelta,
  IN_SCOPE,
  KEY_TYPES,
  type KeyType,
  swapShelves,
  updateTenth,
  updateTenthInBatches,
} from './delta-data.js';
import { withClient } from './servers.js';
import type pg from 'pg';

const ROWS = 2000;

let server: TestServer;
beforeAll(async () => void (server = await startTestServer()));
afterAll(() => server?.[Symbol.asyncDispose]());

interface Difference {
  gone: number;
  new: number;
  changed: number;
}

/** How what is in scope differs from before. */
async function differenceAfter(client: pg.Client, change: () => Promise<void>): Promise<Difference> {
  await client.query(`DROP TABLE IF EXISTS before; CREATE TABLE before AS SELECT id, t::text AS row FROM ${TABLE} t WHERE ${IN_SCOPE}`);
  await change();
  const { rows } = await client.query<Difference>(`
    SELECT count(*) FILTER (WHERE a.id IS NULL)::int AS gone, count(*) FILTER (WHERE b.id IS NULL)::int AS new,
           count(*) FILTER (WHERE a.row <> b.row)::int AS changed
    FROM before b FULL JOIN (SELECT id, t::text AS row FROM ${TABLE} t WHERE ${IN_SCOPE}) a USING (id)`);
  return rows[0]!;
}

async function withScope(keys: KeyType, work: (client: pg.Client) => Promise<void>): Promise<void> {
  await using database = await server.createDatabase();
  await withClient(database.url, async (client) => {
    await fillDelta(client, { keys, rows: ROWS }, ['02:00:00:00:00:00']);
    await work(client);
  });
}

async function inTransaction(client: pg.Client, work: () => Promise<void>): Promise<void> {
  await client.query('BEGIN');
  await work();
  await client.query('COMMIT');
}

test.each(KEY_TYPES)('with %s keys a hundred rows change, in each way that a row can', async (keys) => {
  await withScope(keys, async (client) => {
    const { rows } = await client.query(`SELECT pg_typeof(id)::text AS type, count(*)::int FROM ${TABLE} WHERE ${IN_SCOPE} GROUP BY 1`);
    expect(rows).toEqual([{ type: keys, count: ROWS }]);
    for (const seed of [1, 2]) {
      const difference = await differenceAfter(client, () => inTransaction(client, () => changeHundred(keys)(client, seed)));
      // A key that changes is a row gone and a new one; another one leaves by its own column.
      expect(difference).toEqual({ gone: 9 + 1 + 1, new: 9 + 1, changed: 80 });
    }
  });
});

test('two shelves change places, and back', async () => {
  await withScope('bigint', async (client) => {
    for (const seed of [1, 2]) {
      expect(await differenceAfter(client, () => swapShelves(ROWS)(client, seed))).toEqual({ gone: 100, new: 100, changed: 0 });
    }
  });
});

test('a tenth of the rows changes, at once or in batches', async () => {
  await withScope('uuid', async (client) => {
    for (const [seed, change] of [updateTenth, updateTenthInBatches].entries()) {
      const { changed, gone, new: added } = await differenceAfter(client, () => change(client, seed));
      expect({ gone, added }).toEqual({ gone: 0, added: 0 });
      expect(changed / ROWS).toBeGreaterThan(0.07);
      expect(changed / ROWS).toBeLessThan(0.13);
    }
  });
});
