import type { Manifest } from '@waypost/contracts';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { readSample } from '../../../../test/support/samples.js';
import { until } from '../../../../test/support/until.js';
import { type Answer, type Central, startCentral } from '../../testing/central.js';
import { haveOf } from '../../testing/messages.js';
import { runSql } from '../../testing/sql.js';

const [ONE, TWO, OTHER] = ['02:00:00:00:00:01', '02:00:00:00:00:02', '02:00:00:00:00:03'];
const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT shop FROM devices WHERE mac = :mac
tables:
  - { name: orders, where: shop = :shop }
  - { name: clients, where: EXISTS (SELECT FROM memberships m WHERE m.client = clients.id AND m.shop = :shop) }
  - { name: small }
`;
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, shop int NOT NULL);
  INSERT INTO devices VALUES ('${ONE}', 1), ('${TWO}', 1), ('${OTHER}', 2);
  CREATE TABLE orders (id int PRIMARY KEY, shop int NOT NULL);
  INSERT INTO orders SELECT id, 1 FROM generate_series(1, 3000) AS id;
  INSERT INTO orders VALUES (9001, 2), (9002, 2);
  CREATE TABLE clients (id int PRIMARY KEY);
  INSERT INTO clients SELECT generate_series(1, 1500);
  CREATE TABLE memberships (client int, shop int);
  INSERT INTO memberships SELECT id, 1 FROM clients;
  CREATE TABLE small (id int PRIMARY KEY);
  INSERT INTO small SELECT generate_series(1, 1000);`;

let server: TestServer;
let url: string;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());
beforeEach(async () => {
  ({ url } = await server.createDatabase('shrink'));
  await runSql(url, SCHEMA);
});

const start = (env: Record<string, string> = {}, plan = PLAN): Promise<Central> => startCentral({ databaseUrl: url, plan, env });
const ask = (central: Central, mac: string, manifest: Manifest, more: object = {}): Promise<Answer> =>
  central.post('/api/device-sync/request', { mac, ...haveOf(manifest), ...more });
const rowsOf = ({ tables }: Manifest): Record<string, number> => Object.fromEntries(tables.map(({ name, rowCount }) => [name, rowCount]));
const heldBack = (): Promise<object[]> =>
  runSql(
    url,
    `SELECT mac, table_name, rows_before::int, rows_now::int FROM waypost.held_shrinks WHERE released_at IS NULL AND closed_at IS NULL ORDER BY mac, table_name`,
  );
const release = (table: string): Promise<object[]> =>
  runSql(url, `UPDATE waypost.held_shrinks SET released_at = now(), released_by = 'test' WHERE table_name = '${table}'`);

test('a truncated table is held back: the refusal names table and rows and the command that releases it', async () => {
  await using central = await start();
  const held = await central.manifestFor(ONE);
  await central.sql('TRUNCATE orders');
  const { status, body } = await ask(central, ONE, held);
  expect({ status, code: body.code, detail: body.detail, hint: body.hint }).toEqual({
    status: 409,
    code: 'SHARE_SHRANK',
    detail: expect.stringContaining('orders went from 3000 to 0 rows'),
    hint: expect.stringContaining(`waypost release orders --mac ${ONE}`),
  });
  expect((await central.audit(1))[0]).toMatchObject({ mac: ONE, status: 'Refused', reason: 'SHARE_SHRANK' });
  expect(await heldBack()).toEqual([{ mac: ONE, table_name: 'orders', rows_before: 3000, rows_now: 0 }]);
  const stored = await central.sql<{ manifest_id: string }>('SELECT manifest_id FROM waypost.manifests');
  expect(stored).toEqual([{ manifest_id: held.manifestId }]);
});

test('a table that a condition joins was emptied: the tables that depend on it are held back, for payloads too', async () => {
  await using central = await start();
  const held = await central.manifestFor(ONE);
  await central.sql('DELETE FROM memberships');
  for (const more of [{}, { payload: 'json' }]) {
    const { body } = await ask(central, ONE, held, more);
    expect(body).toMatchObject({ code: 'SHARE_SHRANK', detail: expect.stringContaining('clients went from 1500 to 0 rows') });
  }
});

test('a loss of exactly MAX_SHRINK passes, one row more does not, and a table of 1,000 rows may lose all', async () => {
  await using central = await start({ MAX_SHRINK: '0.5' });
  const first = await central.manifestFor(ONE);
  await central.sql('DELETE FROM orders WHERE id <= 1500; DELETE FROM small');
  const second = await central.poll(first);
  expect(rowsOf(second)).toEqual({ orders: 1500, clients: 1500, small: 0 });
  await central.sql('DELETE FROM orders WHERE id <= 2251');
  expect((await ask(central, ONE, second)).body.code).toBe('SHARE_SHRANK');
});

test('a device that moved, and one that holds nothing, get what central has', async () => {
  await using central = await start();
  const held = await central.manifestFor(ONE);
  await central.sql(`UPDATE devices SET shop = 2 WHERE mac = '${ONE}'`);
  expect(rowsOf(await central.poll(held))['orders']).toBe(2);
  await central.manifestFor(TWO);
  await central.sql('DELETE FROM orders');
  expect(rowsOf(await central.manifestFor(TWO))['orders']).toBe(0);
});

test('a manifest that went to someone who named nothing does not reach the device that holds the rows', async () => {
  await using central = await start();
  const held = await central.manifestFor(ONE);
  await central.sql('TRUNCATE orders');
  await central.manifestFor(ONE);
  expect((await ask(central, ONE, held)).body.code).toBe('SHARE_SHRANK');
});

test('of devices that are answered from one snapshot each is judged by what it holds', async () => {
  await using central = await start({ MAX_CONCURRENT_BUILDS: '1' });
  const held = await central.manifestFor(ONE);
  await central.sql('TRUNCATE orders');
  const builds = (state: string): Promise<number> => readSample(central.url, `waypost_central_builds_${state}`);
  const blocker = new pg.Client({ connectionString: url });
  await blocker.connect();
  // The only place is taken by a build that waits for the lock: the other two wait together for the next.
  await blocker.query('BEGIN; LOCK TABLE orders');
  const other = central.manifestFor(OTHER);
  await until(async () => (await builds('in_flight')) === 1);
  const asked = [ask(central, ONE, held), central.manifestFor(TWO)] as const;
  await until(async () => (await builds('waiting')) === 2);
  await blocker.end();
  const [one, two] = await Promise.all(asked);
  expect(one.body.code).toBe('SHARE_SHRANK');
  expect([rowsOf(two)['orders'], rowsOf(await other)['orders']]).toEqual([0, 0]);
});

test('a release lets the confirmed rows pass, also when the answer was lost; a further fall is held back again', async () => {
  await using central = await start();
  const held = await central.manifestFor(ONE);
  await central.sql('DELETE FROM orders WHERE id <= 2500');
  await ask(central, ONE, held);
  await release('orders');
  await central.sql('DELETE FROM orders WHERE id <= 2600');
  expect((await ask(central, ONE, held)).body.detail).toContain('orders went from 3000 to 400 rows');
  expect(await heldBack()).toEqual([{ mac: ONE, table_name: 'orders', rows_before: 3000, rows_now: 400 }]);
  await release('orders');
  await central.sql('INSERT INTO orders SELECT id, 1 FROM generate_series(1, 100) AS id');
  const passed = await central.poll(held);
  expect(rowsOf(passed)['orders']).toBe(500);
  expect(await central.poll(held)).toEqual(passed);
  await central.sql('TRUNCATE orders');
  expect((await ask(central, ONE, held)).body.code).toBe('SHARE_SHRANK');
});

test('rows that come back end it without an operator', async () => {
  await using central = await start();
  const held = await central.manifestFor(ONE);
  await central.sql('CREATE TABLE kept AS TABLE orders; TRUNCATE orders');
  await ask(central, ONE, held);
  await central.sql('INSERT INTO orders TABLE kept');
  expect(await central.poll(held)).toEqual(held);
  expect(await heldBack()).toEqual([]);
});

test('in another epoch the device’s last proven manifest still counts', async () => {
  await using central = await start();
  const held = await central.manifestFor(ONE);
  await central.sql(`UPDATE waypost.central_state SET value = 'another' WHERE key = 'cluster'`);
  await central.sql('TRUNCATE orders');
  expect((await ask(central, ONE, held)).body.code).toBe('SHARE_SHRANK');
  // The manifest that it names is gone with the restore; an older one that it acknowledged is there.
  await central.sql('UPDATE waypost.device_states SET verified_manifest_id = last_manifest_id');
  const unknown = { ...held, manifestId: '01JD8Y2M3N4P5Q6R7S8T9VWXYZ' };
  expect((await ask(central, ONE, unknown)).body.code).toBe('SHARE_SHRANK');
});

test.each([
  ['MAX_SHRINK=off', { MAX_SHRINK: 'off' }, PLAN],
  ['the plan, for the table', {}, PLAN.replace('shop = :shop }', 'shop = :shop, maxShrink: off }')],
])('%s allows it', async (_, env, plan) => {
  await using central = await start(env, plan);
  const held = await central.manifestFor(ONE);
  await central.sql('TRUNCATE orders');
  expect(rowsOf(await central.poll(held))['orders']).toBe(0);
});

test('the plan may be stricter than MAX_SHRINK', async () => {
  await using central = await start({ MAX_SHRINK: 'off' }, PLAN.replace('shop = :shop }', 'shop = :shop, maxShrink: 0.1 }'));
  const held = await central.manifestFor(ONE);
  await central.sql('DELETE FROM orders WHERE id <= 301');
  expect((await ask(central, ONE, held)).body.code).toBe('SHARE_SHRANK');
});

test.each(['0', '1.5', '-1', 'half', '50%'])('MAX_SHRINK=%s is refused at start', async (MAX_SHRINK) => {
  await expect(start({ MAX_SHRINK })).rejects.toThrow(/MAX_SHRINK must be off or a fraction/);
});
