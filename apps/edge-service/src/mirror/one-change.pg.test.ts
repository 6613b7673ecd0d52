import { jest } from '@jest/globals';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';
import { CREATE_SHOP, SHOP_TABLES } from '../../testing/small-shop.js';

let server: TestServer;
let pair: FakePair;

beforeAll(async () => {
  server = await startTestServer();
  // No sweep asks the database beside a cycle.
  pair = await startFakePair({ server, source: CREATE_SHOP, tables: SHOP_TABLES, env: { AUDIT_RETENTION: '0' } });
});
afterAll(async () => {
  await pair?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

test('a cycle that changes one row asks its database a few times, and waits for its disk once', async () => {
  const { central, edge } = pair;
  // The mirror is described once, and once it is asked whether single ranges of the table can be read.
  for (const change of ['SELECT', 'SELECT', 'UPDATE users SET balance = 0 WHERE id = 7', 'UPDATE users SET balance = 1 WHERE id = 7']) {
    await edge.sync();
    await central.change(change);
  }
  const asked = jest.spyOn(pg.Client.prototype, 'query');
  try {
    expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
    const texts = asked.mock.calls.map(([query]) => (typeof query === 'string' ? query : (query as unknown as pg.QueryConfig).text));
    expect(texts.map((text) => text?.trim().slice(0, 60))).toHaveLength(32);
    const commits = texts.filter((text) => text === 'COMMIT');
    const alone = texts.slice(texts.indexOf('COMMIT') + 1).filter((text) => /INSERT|UPDATE|DELETE/.test(text ?? ''));
    expect(commits).toHaveLength(1);
    expect(alone.filter((text) => !text?.includes("'synchronous_commit', 'off'"))).toEqual([]);
  } finally {
    asked.mockRestore();
  }
});
