import { statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type Central, startCentral } from '../../testing/central.js';
import { SHOP_PLAN, SHOP_SCHEMA } from '../../testing/shop.js';
import { runSql } from '../../testing/sql.js';

interface Health {
  status: string;
  details: Record<string, { status: string; code?: string; state?: string; message?: string; hint?: string }>;
}

let server: TestServer;
let databaseUrl: string;

beforeAll(async () => {
  server = await startTestServer();
  databaseUrl = (await server.createDatabase('shop')).url;
  await runSql(databaseUrl, SHOP_SCHEMA);
});
afterAll(() => server?.[Symbol.asyncDispose]());

const start = (env: Record<string, string> = {}): Promise<Central> =>
  startCentral({ databaseUrl, plan: SHOP_PLAN, env: { AUTH: 'device', ...env } });

async function healthOf(central: Central): Promise<{ http: number; text: string } & Health> {
  const response = await fetch(`${central.url}/health`);
  const text = await response.text();
  return { http: response.status, text, ...(JSON.parse(text) as Health) };
}

const linesOf = ({ details }: Health) => Object.fromEntries(Object.entries(details).map(([line, { status }]) => [line, status]));
const ALL_UP = { database: 'up', migrations: 'up', store: 'up', disk: 'up', identity: 'up', trust: 'up', ledger: 'up' };

test('a healthy central has a line for each part', async () => {
  await using central = await start();
  const health = await healthOf(central);
  expect(health).toMatchObject({ http: 200, status: 'ok' });
  expect(linesOf(health)).toEqual(ALL_UP);
});

test('devices that are known by their MACs alone are a warning', async () => {
  await using central = await start({ AUTH: 'mac' });
  const health = await healthOf(central);
  expect(health).toMatchObject({
    http: 200,
    status: 'degraded',
    details: { identity: { status: 'degraded', message: expect.stringContaining('AUTH=mac') } },
  });
});

test('migrations that the database does not have are a reason, and so is a missing schema', async () => {
  await using central = await start();
  const [last] = await central.sql<{ id: number; timestamp: string; name: string }>(
    'DELETE FROM waypost.central_migrations WHERE id = (SELECT max(id) FROM waypost.central_migrations) RETURNING *',
  );
  const health = await healthOf(central);
  expect(health).toMatchObject({ http: 503, details: { migrations: { status: 'down', missing: 1, hint: expect.any(String) } } });
  expect(linesOf(health)).toEqual({ ...ALL_UP, migrations: 'down' });
  await central.sql('ALTER TABLE waypost.central_migrations RENAME TO away');
  expect((await healthOf(central)).http).toBe(503);
  await central.sql('ALTER TABLE waypost.away RENAME TO central_migrations');
  await central.sql('INSERT INTO waypost.central_migrations (id, timestamp, name) VALUES ($1, $2, $3)', Object.values(last!));
  expect((await healthOf(central)).http).toBe(200);
});

test('a store that cannot be written is a reason, and its path is not told', async () => {
  await using central = await start({ SNAPSHOT_STORE: 'file:/dev/null/secret-folder' });
  const health = await healthOf(central);
  expect(health).toMatchObject({ http: 503, details: { store: { status: 'down', code: 'STORAGE_FAILED', state: 'ENOTDIR' } } });
  expect(linesOf(health)).toEqual({ ...ALL_UP, store: 'down', disk: 'down' });
  expect(health.text).not.toContain('secret-folder');
});

test('a disk is degraded when little is left, and down when it is full', async () => {
  const { bavail, bsize } = await statfs(tmpdir());
  const kib = (bavail * bsize) / 1024;
  for (const [minFree, expected] of [
    [kib / 5, { http: 200, status: 'degraded', disk: 'degraded' }],
    [kib * 2, { http: 503, status: 'error', disk: 'down' }],
  ] as const) {
    await using central = await start({ MIN_FREE_DISK: `${Math.round(minFree)}KiB` });
    const { http, status, details } = await healthOf(central);
    expect({ http, status, disk: details['disk']?.status }).toEqual(expected);
  }
});
