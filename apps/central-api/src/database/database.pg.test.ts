import { join } from 'node:path';
import { toWaypostError } from '@waypost/runtime/service';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { startEmbeddedPostgres } from '../../../../scripts/embedded-postgres.js';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { temporaryFolder } from '../../../../test/support/temporary-folder.js';
import { startCentral } from '../../testing/central.js';
import { SHOP_1, SHOP_2, SHOP_PLAN, SHOP_SCHEMA } from '../../testing/shop.js';
import { runSql } from '../../testing/sql.js';
import { dataSourceOptions } from './database.module.js';

let server: TestServer;

beforeAll(async () => {
  server = await startTestServer();
});

afterAll(() => server?.[Symbol.asyncDispose]());

async function freshShop(): Promise<string> {
  const { url } = await server.createDatabase('shop');
  await runSql(url, SHOP_SCHEMA);
  return url;
}

/** All that the catalog knows of the tables and types that are not Waypost's. */
function businessCatalog(url: string): Promise<unknown[]> {
  return runSql(
    url,
    `SELECT n.nspname, c.relname, row_to_json(c)::jsonb - '{relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid,relhasindex}'::text[] AS class,
            (SELECT json_agg(a ORDER BY attnum) FROM pg_attribute a WHERE attrelid = c.oid) AS columns,
            (SELECT json_agg(t ORDER BY oid) FROM pg_trigger t WHERE tgrelid = c.oid) AS triggers
     FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
     WHERE nspname NOT IN ('waypost', 'pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1, 2`,
  );
}

test('processes that start at once on a fresh database all come up, and migrate it once', async () => {
  const databaseUrl = await freshShop();
  const started = await Promise.all(Array.from({ length: 3 }, () => startCentral({ databaseUrl, plan: SHOP_PLAN })));
  const manifests = await Promise.all(started.map((central) => central.manifestFor(SHOP_1)));
  expect(new Set(manifests.map(({ epoch, sha256 }) => `${epoch} ${sha256}`)).size).toBe(1);
  const migrations = dataSourceOptions(databaseUrl).migrations as unknown[];
  expect(await runSql(databaseUrl, 'SELECT count(*)::int AS n FROM waypost.central_migrations')).toEqual([{ n: migrations.length }]);
  await Promise.all(started.map((central) => central[Symbol.asyncDispose]()));
});

test('a restart keeps what was issued', async () => {
  const databaseUrl = await freshShop();
  const first = await startCentral({ databaseUrl, plan: SHOP_PLAN });
  const manifest = await first.manifestFor(SHOP_1);
  await first[Symbol.asyncDispose]();
  await using second = await startCentral({ databaseUrl, plan: SHOP_PLAN });
  expect(await second.manifestFor(SHOP_1)).toEqual(manifest);
});

test('everything of Waypost lives in its own schema: the business tables are as they were', async () => {
  const databaseUrl = await freshShop();
  const before = await businessCatalog(databaseUrl);
  {
    await using central = await startCentral({ databaseUrl, plan: SHOP_PLAN });
    await central.download(await central.manifestFor(SHOP_1), 'accounts');
    await central.post('/api/device-sync/request', { mac: SHOP_1, payload: 'json' });
  }
  expect(before.length).toBeGreaterThan(5);
  expect(await businessCatalog(databaseUrl)).toEqual(before);
  expect(await runSql(databaseUrl, `SELECT extname FROM pg_extension WHERE extname <> 'plpgsql'`)).toEqual([]);
});

test('a plan that does not fit the database keeps central from starting', async () => {
  const plan = SHOP_PLAN.replace('name: vaults', 'name: vault');
  await expect(startCentral({ databaseUrl: await freshShop(), plan })).rejects.toMatchObject({
    code: 'PLAN_INVALID',
    message: expect.stringMatching(/plan\.yaml:9: table vault does not exist/),
  });
});

test('a database that stops is a 503, the process lives on and heals', async () => {
  await using folder = await temporaryFolder();
  const options = { folder: join(folder.path, 'postgres'), settings: { fsync: 'off' } };
  const postgres = await startEmbeddedPostgres(options);
  await runSql(postgres.url, SHOP_SCHEMA);
  await using central = await startCentral({ databaseUrl: postgres.url, plan: SHOP_PLAN });
  const status = async (path: string) => (await fetch(central.url + path)).status;
  const manifest = await central.manifestFor(SHOP_1);
  expect([await status('/healthz'), await status('/health'), await status('/metrics')]).toEqual([200, 200, 200]);

  await postgres.stop();
  for (const payload of [undefined, 'json']) {
    const refused = await central.post('/api/device-sync/request', { mac: SHOP_1, payload });
    expect(refused).toMatchObject({ status: 503, body: { code: 'DATABASE_UNAVAILABLE', hint: expect.stringContaining('heals') } });
  }
  const download = await central.download(manifest, 'accounts');
  expect(JSON.parse(download.body.toString())).toMatchObject({ status: 503, code: 'DATABASE_UNAVAILABLE' });
  expect([await status('/healthz'), await status('/health')]).toEqual([200, 503]);

  await using again = await startEmbeddedPostgres({ ...options, port: postgres.port });
  expect(again.port).toBe(postgres.port);
  expect((await central.manifestFor(SHOP_1)).sha256).toBe(manifest.sha256);
  expect((await central.download(manifest, 'accounts')).status).toBe(200);
  expect(await status('/health')).toBe(200);
});

test('a store that cannot be written is a 500 that names the folder, and not healthy', async () => {
  await using central = await startCentral({
    databaseUrl: await freshShop(),
    plan: SHOP_PLAN,
    env: { SNAPSHOT_STORE: 'file:/dev/null/x' },
  });
  const failed = await central.post('/api/device-sync/request', { mac: SHOP_1 });
  expect(failed).toMatchObject({ status: 500, body: { code: 'STORAGE_FAILED', detail: expect.stringContaining('/dev/null/x') } });
  expect(await central.audit(1)).toMatchObject([{ mac: SHOP_1, status: 'Failed', reason: 'STORAGE_FAILED', manifest_id: null }]);
  expect((await fetch(`${central.url}/health`)).status).toBe(503);
});

test('a request that finds no free build slot in time is told to come again', async () => {
  const databaseUrl = await freshShop();
  await using central = await startCentral({
    databaseUrl,
    plan: SHOP_PLAN,
    env: { MAX_CONCURRENT_BUILDS: '1', BUILD_QUEUE_TIMEOUT: '100ms' },
  });
  const blocker = new pg.Client({ connectionString: databaseUrl });
  await blocker.connect();
  await blocker.query('BEGIN; LOCK TABLE vaults');
  const blocked = central.post('/api/device-sync/request', { mac: SHOP_1 });
  const waiting = `SELECT FROM pg_stat_activity WHERE application_name = 'waypost-central-build' AND wait_event_type = 'Lock'`;
  await until(async () => (await central.sql(waiting)).length > 0);
  expect(await central.post('/api/device-sync/request', { mac: SHOP_2 })).toMatchObject({ status: 503, body: { code: 'CENTRAL_BUSY' } });
  expect(await central.audit(1)).toMatchObject([{ mac: SHOP_2, status: 'Failed', reason: 'CENTRAL_BUSY' }]);
  await blocker.end();
  expect((await blocked).status).toBe(200);
  await central.manifestFor(SHOP_2);
});

test('a connection that ends between two statements of a transaction is a 503', async () => {
  const databaseUrl = await freshShop();
  await using central = await startCentral({ databaseUrl, plan: SHOP_PLAN });
  const error = await central.app
    .get(DataSource)
    .transaction(async (manager) => {
      const [{ pid }] = await manager.query<[{ pid: number }]>('SELECT pg_backend_pid() AS pid');
      const { databaseConnection } = manager.queryRunner as unknown as { databaseConnection: pg.PoolClient };
      const broken = new Promise((resolve) => databaseConnection.once('end', resolve));
      await central.sql('SELECT pg_terminate_backend($1)', [pid]);
      await broken;
      await manager.query('SELECT 1');
    })
    .catch((thrown: unknown) => thrown);
  expect(toWaypostError(error)).toMatchObject({ code: 'DATABASE_UNAVAILABLE', status: 503 });
});
