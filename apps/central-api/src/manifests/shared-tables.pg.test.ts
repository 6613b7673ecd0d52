import { rm } from 'node:fs/promises';
import type { Manifest } from '@waypost/contracts';
import pg from 'pg';
import { startTestServer, type TestDatabase, type TestServer } from '../../../../test/support/postgres.js';
import { readSample, scrape } from '../../../../test/support/samples.js';
import { until } from '../../../../test/support/until.js';
import { installCapture } from '../../testing/capture.js';
import { type Central, startCentral } from '../../testing/central.js';
import { failureOf } from '../../testing/messages.js';
import { runSql } from '../../testing/sql.js';

/** What is read for one device is read for all who need the same, and never for one who needs something else. */

const SHOPS = 4;
const DEVICES_PER_SHOP = 25;
const mac = (shop: number, device: number): string => `02:00:00:00:${String(shop).padStart(2, '0')}:${String(device).padStart(2, '0')}`;
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, name text NOT NULL, shop int NOT NULL, divisor int NOT NULL DEFAULT 1);
  INSERT INTO devices SELECT format('02:00:00:00:%s:%s', lpad(s::text, 2, '0'), lpad(d::text, 2, '0'))::macaddr, s || '/' || d, s
  FROM generate_series(1, ${SHOPS}) s, generate_series(1, ${DEVICES_PER_SHOP}) d;
  CREATE TABLE countries (id int PRIMARY KEY, name text NOT NULL);
  INSERT INTO countries SELECT g, 'country ' || g FROM generate_series(1, 50) g;
  CREATE TABLE accounts (id int PRIMARY KEY, shop int NOT NULL, balance int NOT NULL);
  INSERT INTO accounts SELECT g, 1 + g % ${SHOPS}, 1 FROM generate_series(1, 400) g;
  CREATE TABLE limits (shop int PRIMARY KEY, most int NOT NULL);
  INSERT INTO limits SELECT g, 100 FROM generate_series(1, ${SHOPS}) g;
  CREATE VIEW rich AS SELECT a.id, a.shop, a.balance FROM accounts a JOIN limits l ON l.shop = a.shop AND 100 / a.balance <= l.most;
  CREATE TABLE visits (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
  CREATE TABLE visits_low PARTITION OF visits FOR VALUES FROM (0) TO (100);
  INSERT INTO visits VALUES (1, 'first');`;
/** Each device has a name of its own that no table asks for: it must not keep devices apart. */
const PLAN = `
version: 1
schemaVersion: 1
changes: triggers
scope:
  query: SELECT name AS device_id, shop FROM devices WHERE mac = :mac
tables:
  - name: countries
  - name: accounts
    where: shop = :shop
  - name: rich
    key: [id]
    where: shop = :shop
  - name: visits_low
`;
const TABLES = 4;
/** Those without parameters. */
const GLOBAL = 2;
const PLAN_NONE = PLAN.replace('changes: triggers', 'changes: none');

let server: TestServer;
let database: TestDatabase;
let centrals: Central[] = [];
let blocker: pg.Client;

beforeAll(async () => {
  server = await startTestServer({ settings: { max_connections: 200 } });
});
afterAll(() => server?.[Symbol.asyncDispose]());
beforeEach(async () => {
  database = await server.createDatabase('shops');
  await runSql(database.url, SCHEMA);
  blocker = new pg.Client({ connectionString: database.url });
  await blocker.connect();
});
afterEach(async () => {
  await blocker.end();
  for (const central of centrals) await central[Symbol.asyncDispose]();
  centrals = [];
});

async function start({ plan = PLAN, env = {} }: { plan?: string; env?: Record<string, string> } = {}): Promise<Central> {
  const central = await startCentral({ databaseUrl: database.url, plan, env });
  centrals.push(central);
  if (centrals.length === 1) await installCapture(database.url, PLAN);
  return central;
}

interface Work {
  built: number;
  shared: number;
  builds: number;
}

/** What a central has done so far. */
async function workOf({ url }: Central): Promise<Work> {
  const samples = await scrape(url);
  return {
    built: samples.get('waypost_central_table_snapshots_total{source="built"}') ?? NaN,
    shared: samples.get('waypost_central_table_snapshots_total{source="shared"}') ?? NaN,
    builds: samples.get('waypost_central_snapshot_build_duration_seconds_count') ?? NaN,
  };
}

async function waitingAt(central: Central, count: number): Promise<void> {
  await until(async () => (await readSample(central.url, 'waypost_central_builds_waiting')) === count);
}

const blockedBuilds = `SELECT FROM pg_stat_activity WHERE application_name = 'waypost-central-build' AND wait_event_type = 'Lock'`;

/** Lets the requests wait for each other: no table can be read until `meanwhile` is over. */
async function whileBlocked<T>(central: Central, first: () => T, meanwhile: () => Promise<void>): Promise<T> {
  await blocker.query('BEGIN; LOCK TABLE accounts');
  const asked = first();
  await until(async () => (await central.sql(blockedBuilds)).length > 0);
  await meanwhile();
  await blocker.query('ROLLBACK');
  return asked;
}

/** What a central says that reads everything again. */
async function rescanned(of: string): Promise<Manifest['tables']> {
  await using fresh = await startCentral({ databaseUrl: database.url, plan: PLAN_NONE });
  return (await fresh.manifestFor(of)).tables;
}

const everybody = Array.from({ length: SHOPS }, (_, shop) =>
  Array.from({ length: DEVICES_PER_SHOP }, (_, device) => mac(shop + 1, device + 1)),
).flat();

test('a table without parameters is read once for all shares, others once for each; another process takes them, too', async () => {
  const one = await start();
  const manifests = [await one.manifestFor(mac(1, 1)), await one.manifestFor(mac(2, 1)), await one.manifestFor(mac(1, 2))];
  expect(await workOf(one)).toEqual({ built: TABLES + (TABLES - GLOBAL), shared: GLOBAL + TABLES, builds: 3 });
  expect(manifests[2]?.tables).toEqual(manifests[0]?.tables);
  expect(manifests[2]?.device).toEqual({ mac: mac(1, 2), id: '1/2' });
  const other = await start();
  expect((await other.manifestFor(mac(2, 2))).tables).toEqual(manifests[1]?.tables);
  expect(await workOf(other)).toEqual({ built: 0, shared: TABLES, builds: 1 });
});

test('a change to one table has only that one read again, and those that join it', async () => {
  const central = await start();
  await central.manifestFor(mac(1, 1));
  const before = await workOf(central);
  await central.sql('UPDATE limits SET most = 0 WHERE shop = 1');
  const { tables } = await central.manifestFor(mac(1, 2));
  expect(tables.map(({ rowCount }) => rowCount)).toEqual([50, 100, 0, 1]);
  expect((await workOf(central)).built - before.built).toBe(1);
});

test('a partition that is read by itself is read again when rows come through its parent', async () => {
  const central = await start();
  const { tables } = await central.manifestFor(mac(1, 1));
  await central.sql("INSERT INTO visits VALUES (2, 'second')");
  expect((await central.manifestFor(mac(1, 1))).tables[3]).toMatchObject({ name: 'visits_low', rowCount: 2 });
  await central.sql("UPDATE visits SET note = 'again' WHERE id = 1");
  const last = await central.manifestFor(mac(1, 1));
  expect(last.tables.slice(0, 3)).toEqual(tables.slice(0, 3));
  expect(last.tables).toEqual(await rescanned(mac(1, 1)));
});

test('a hundred devices that ask at once: each table is read once', async () => {
  const central = await start();
  const manifests = await Promise.all(everybody.map((device) => central.manifestFor(device)));
  expect((await workOf(central)).built).toBe(GLOBAL + SHOPS * (TABLES - GLOBAL));
  expect(manifests.map(({ device }) => device.mac)).toEqual(everybody);
  expect(new Set(manifests.map(({ sequence }) => sequence)).size).toBe(everybody.length);
  const tablesOf = new Map(manifests.map(({ filters, tables }) => [filters['shop'], tables]));
  for (const { filters, tables } of manifests) expect(tables).toEqual(tablesOf.get(filters['shop'] ?? ''));
  expect(await central.sql("SELECT count(*)::int FROM waypost.sync_requests WHERE status = 'Issued'")).toEqual([
    { count: everybody.length },
  ]);
  expect(await central.sql('SELECT count(*)::int FROM waypost.sync_manifests')).toEqual([{ count: everybody.length * TABLES }]);
});

test('one device that asks many times at once gets one manifest, and each request is audited', async () => {
  const central = await start();
  const asked = await Promise.all(Array.from({ length: 20 }, () => central.manifestFor(mac(1, 1))));
  expect(new Set(asked.map(({ manifestId }) => manifestId)).size).toBe(1);
  const counts = 'SELECT coalesce(reason, status) AS outcome, count(*)::int FROM waypost.sync_requests GROUP BY 1 ORDER BY 1';
  expect(await central.sql(counts)).toEqual([
    { outcome: 'Issued', count: 1 },
    { outcome: 'unchanged', count: 19 },
  ]);
});

test('without capture, requests that wait together share one read, and none an earlier one', async () => {
  const central = await start({ plan: PLAN_NONE, env: { MAX_CONCURRENT_BUILDS: '1' } });
  const shop = everybody.filter((device) => device.startsWith('02:00:00:00:01:'));
  let rest: Promise<Manifest>[] = [];
  await whileBlocked(
    central,
    () => central.manifestFor(shop[0] as string),
    async () => {
      rest = shop.slice(1).map((device) => central.manifestFor(device));
      await waitingAt(central, rest.length);
    },
  );
  await Promise.all(rest);
  expect(await workOf(central)).toEqual({ built: 2 * TABLES, shared: 0, builds: 2 });
  await central.manifestFor(shop[0] as string);
  expect((await workOf(central)).built).toBe(3 * TABLES);
  expect(await central.sql('SELECT FROM waypost.table_reads')).toEqual([]);
});

test('two central processes that are asked at the same moment read each table once', async () => {
  const one = await start();
  const two = await start();
  const asked = await whileBlocked(
    one,
    () => Promise.all(everybody.map((device, at) => (at % 2 === 0 ? one : two).manifestFor(device))),
    async () => undefined,
  );
  expect(asked).toHaveLength(everybody.length);
  const [of1, of2] = [await workOf(one), await workOf(two)];
  expect(of1.built + of2.built).toBe(GLOBAL + SHOPS * (TABLES - GLOBAL));
});

test.each(['triggers', 'none'])(
  'changes: %s: a device that moves or goes while it waits gets what is right then, and the others theirs',
  async (changes) => {
    const central = await start({ plan: changes === 'none' ? PLAN_NONE : PLAN, env: { MAX_CONCURRENT_BUILDS: '1' } });
    const [moves, goes, leaves, stays] = [mac(1, 2), mac(1, 3), mac(1, 4), mac(1, 5)];
    const client = new AbortController();
    let waiting: ReturnType<Central['post']>[] = [];
    let left: Promise<unknown> = Promise.resolve();
    await whileBlocked(
      central,
      () => central.manifestFor(mac(1, 1)),
      async () => {
        waiting = [moves, goes, stays].map((device) => central.post('/api/device-sync/request', { mac: device }));
        left = fetch(`${central.url}/api/device-sync/request`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ mac: leaves }),
          signal: client.signal,
        }).catch((error: unknown) => error);
        await waitingAt(central, 4);
        await central.sql(`UPDATE devices SET shop = 2 WHERE mac = '${moves}'`);
        await central.sql(`DELETE FROM devices WHERE mac = '${goes}'`);
        client.abort();
        await waitingAt(central, 3);
      },
    );
    const [moved, gone, stayed] = (await Promise.all(waiting)) as unknown as {
      status: number;
      body: { manifest: Manifest; code: string };
    }[];
    expect(await left).toMatchObject({ name: 'AbortError' });
    expect(gone).toMatchObject({ status: 404, body: { code: 'DEVICE_UNKNOWN' } });
    expect(moved?.body.manifest).toMatchObject({ filters: { shop: '2' } });
    expect(stayed?.body.manifest).toMatchObject({ filters: { shop: '1' } });
    expect(moved?.body.manifest.tables).toEqual(await rescanned(mac(2, 1)));
    expect(stayed?.body.manifest.tables).toEqual(await rescanned(mac(1, 1)));
    expect(await central.sql(`SELECT FROM waypost.manifests WHERE mac = '${leaves}'`)).toEqual([]);
  },
);

test('a reading that fails fails every request that waits for it, and the next request heals', async () => {
  const central = await start({ env: { MAX_CONCURRENT_BUILDS: '1' } });
  await central.sql('UPDATE accounts SET balance = 0 WHERE id = 4');
  let rest: ReturnType<Central['post']>[] = [];
  const first = await whileBlocked(
    central,
    () => central.post('/api/device-sync/request', { mac: mac(1, 1) }),
    async () => {
      rest = [2, 3, 4].map((device) => central.post('/api/device-sync/request', { mac: mac(1, device) }));
      rest.push(central.post('/api/device-sync/request', { mac: mac(2, 1) }));
      await waitingAt(central, rest.length);
    },
  );
  expect([first, ...(await Promise.all(rest))].map(({ status }) => status)).toEqual([500, 500, 500, 500, 200]);
  await central.sql('UPDATE accounts SET balance = 1 WHERE id = 4');
  expect((await central.manifestFor(mac(1, 2))).tables).toEqual(await rescanned(mac(1, 2)));
});

test.each<[string, (central: Central) => Promise<unknown>]>([
  ['a view is altered', ({ sql }) => sql('CREATE OR REPLACE VIEW rich AS SELECT id, shop, balance FROM accounts WHERE id > 100')],
  ['the database was replaced: a new epoch', ({ sql }) => sql("UPDATE waypost.central_state SET value = 'another' WHERE key = 'cluster'")],
  ['the store was emptied', ({ store }) => rm(store, { recursive: true })],
  ['a trigger is switched off', ({ sql }) => sql('ALTER TABLE accounts DISABLE TRIGGER waypost_capture_update')],
])('%s: everything is read again', async (_, change) => {
  const central = await start();
  await central.manifestFor(mac(1, 1));
  const before = await workOf(central);
  await change(central);
  const manifest = await central.manifestFor(mac(1, 2));
  expect((await workOf(central)).built - before.built).toBe(TABLES);
  expect(manifest.tables).toEqual(await rescanned(mac(1, 2)));
  expect((await central.download(manifest, 'accounts')).status).toBe(200);
});

test('one device’s failed acks, forged or repeated, have its own tables read once more, and no other’s', async () => {
  const central = await start();
  const manifest = await central.manifestFor(mac(1, 1));
  await central.manifestFor(mac(2, 1));
  let { built } = await workOf(central);
  const builtFor = async (device: string): Promise<number> => {
    const before = built;
    await central.manifestFor(device);
    ({ built } = await workOf(central));
    return built - before;
  };
  for (let round = 0; round < 3; round += 1) {
    expect((await central.acknowledge(failureOf(manifest, `VERIFICATION_FAILED: ${round}`))).status).toBe(200);
    expect(await builtFor(mac(1, 2))).toBe(0);
    expect(await builtFor(mac(2, 2))).toBe(0);
    expect(await builtFor(mac(1, 1))).toBe(round === 0 ? TABLES : 0);
  }
});

test('a shared read that is wrong is replaced for all by that of the device that found it so', async () => {
  const central = await start();
  const right = (await central.manifestFor(mac(1, 1))).tables;
  const others = (await central.manifestFor(mac(2, 1))).tables;
  const hashOf = (tables: Manifest['tables']) => tables.find(({ name }) => name === 'accounts')?.sha256;
  await central.sql('UPDATE waypost.table_reads SET sha256 = $1 WHERE sha256 = $2', [hashOf(others), hashOf(right)]);
  const wrong = await central.manifestFor(mac(1, 2));
  expect(hashOf(wrong.tables)).toBe(hashOf(others));
  await central.acknowledge(failureOf(wrong, 'VERIFICATION_FAILED: accounts'));
  expect((await central.manifestFor(mac(1, 2))).tables).toEqual(right);
  const before = await workOf(central);
  expect((await central.manifestFor(mac(1, 3))).tables).toEqual(right);
  expect((await workOf(central)).built).toBe(before.built);
});

test('what a device found damaged is read again, and then whole', async () => {
  const central = await start();
  await central.acknowledge(failureOf(await central.manifestFor(mac(1, 1)), 'CHUNK_CORRUPT: chunk 0'));
  const before = await workOf(central);
  await central.manifestFor(mac(1, 1));
  expect((await workOf(central)).built - before.built).toBe(TABLES);
});

test('a read that is used stays, knows later changes, and lets them be pruned; one that is not used for a day goes', async () => {
  const one = await start();
  await one.manifestFor(mac(1, 1));
  const seen = async (): Promise<unknown[]> => one.sql('SELECT key, seen::text FROM waypost.table_reads ORDER BY key');
  const before = await seen();
  await one.sql('UPDATE devices SET divisor = 2');
  await one.manifestFor(mac(1, 1));
  expect(await seen()).toEqual(before);
  await one.sql("UPDATE waypost.table_reads SET used_at = used_at - interval '1 hour'");
  await one.manifestFor(mac(1, 1));
  expect(await seen()).not.toEqual(before);
  expect((await workOf(one)).built).toBe(TABLES);
  await one.sql("UPDATE waypost.manifests SET expires_at = now() - interval '1 s'");
  // A central that starts prunes.
  const restarted = await start();
  await until(async () => (await one.sql('SELECT FROM waypost.changes')).length === 0);
  await one.sql("UPDATE waypost.table_reads SET used_at = used_at - interval '25 hours'");
  await restarted[Symbol.asyncDispose]();
  centrals = [one];
  await start();
  await until(async () => (await one.sql('SELECT FROM waypost.table_reads')).length === 0);
  await one.manifestFor(mac(1, 1));
  expect((await workOf(one)).built).toBe(2 * TABLES);
});

test('the age of the oldest transaction that writes is told', async () => {
  const central = await start();
  await blocker.query('BEGIN; UPDATE accounts SET balance = 2 WHERE id = 1');
  await central.manifestFor(mac(1, 1));
  expect(await readSample(central.url, 'waypost_central_oldest_transaction_seconds')).toBeGreaterThan(0);
  const none = await start({ plan: PLAN_NONE });
  expect(await readSample(none.url, 'waypost_central_oldest_transaction_seconds')).toBeNaN();
});
