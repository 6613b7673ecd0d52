import { jest } from '@jest/globals';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';
import { CREATE_SHOP, SHOP_TABLES } from '../../testing/small-shop.js';

let server: TestServer;
let source: string;
let central: FakeCentral;
let edge: Edge;
let pair: FakePair;

beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  // No sweep asks the database beside a cycle.
  pair = await startFakePair({ server, source: CREATE_SHOP, tables: SHOP_TABLES, env: { AUDIT_RETENTION: '0' } });
  ({ source, central, edge } = pair);
  await edge.sync();
});
afterEach(() => pair?.[Symbol.asyncDispose]());
afterAll(() => server?.[Symbol.asyncDispose]());

const UNCHANGED = { httpStatus: 200, status: 'Unchanged', ack: 'none', downloadedBytes: 0 };
const actionsOf = ({ tables }: { tables: { name: string; action: string }[] }) => tables.map(({ action }) => action);

async function expectUnchanged(cycles: number): Promise<void> {
  for (let cycle = 0; cycle < cycles; cycle += 1) expect(await edge.sync()).toMatchObject(UNCHANGED);
}

/** What the edge preferred in the requests for a manifest that one unchanged cycle made. */
async function preferencesOfCycle(): Promise<(string | undefined)[]> {
  const before = central.requests.length;
  await expectUnchanged(1);
  const asked = central.requests.slice(before).filter(({ path }) => path.endsWith('/request'));
  return asked.map(({ prefer }) => prefer);
}

test('a device asks for the short answer and does with it what it does with the whole manifest, after a restart too', async () => {
  const first = await edge.sync();
  expect(first).toMatchObject(UNCHANGED);
  expect(await edge.sync()).toMatchObject({ ...UNCHANGED, tables: first.tables });
  await edge.restart();
  expect(await preferencesOfCycle()).toEqual(['return=minimal']);
  const [state] = await edge.query(
    `SELECT (SELECT value::timestamptz FROM waypost.edge_sync_state WHERE key = 'verified_at') >= max(started_at) AS verified,
            count(completed_at)::int AS completed, (SELECT count(*)::int FROM waypost.edge_sync_tables) AS tables
     FROM waypost.edge_sync_log`,
  );
  expect(state).toEqual({ verified: true, completed: 4, tables: 4 * SHOP_TABLES.length });
});

test('an unchanged cycle asks its database five times, and waits for its disk once', async () => {
  await expectUnchanged(1);
  const asked = jest.spyOn(pg.Client.prototype, 'query');
  try {
    await expectUnchanged(1);
    const texts = asked.mock.calls.map(([query]) => (typeof query === 'string' ? query : (query as unknown as pg.QueryConfig).text));
    expect(texts).toHaveLength(5);
    const durable = texts.filter((text) => /INSERT|UPDATE/.test(text) && !text.includes("'synchronous_commit', 'off'"));
    expect(durable).toHaveLength(1);
  } finally {
    asked.mockRestore();
  }
});

test('a central that does not know the preference answers with the whole manifest, as before', async () => {
  central.ignoresPreferences = true;
  await expectUnchanged(2);
});

test.each([
  ['is missing, as after an update from a version that did not keep it', "DELETE FROM waypost.edge_sync_state WHERE key = 'manifest'"],
  ['was altered', `UPDATE waypost.edge_sync_state SET value = replace(value, '"rowCount":', '"rowCount":1') WHERE key = 'manifest'`],
  ['is truncated', "UPDATE waypost.edge_sync_state SET value = left(value, 100) WHERE key = 'manifest'"],
])('a kept manifest that %s is asked for, and kept from then on', async (_, damage) => {
  await edge.query(damage);
  await edge.restart();
  expect(await preferencesOfCycle()).toEqual([undefined]);
  await edge.restart();
  expect(await preferencesOfCycle()).toEqual(['return=minimal']);
});

test.each([
  ['another manifest', { manifestId: '00000000000000000000000000' }],
  ['another hash', { sha256: 'f'.repeat(64) }],
])('a short answer that names %s is not believed: the whole one is asked for', async (_, lie) => {
  central.unchangedFault = (unchanged) => ({ ...unchanged, ...lie });
  expect(await preferencesOfCycle()).toEqual(['return=minimal', undefined]);
});

test('a short answer about a manifest that has expired, by central’s clock, is refused', async () => {
  central.clock = new Date(Date.now() + 7_200_000);
  expect(await edge.sync()).toMatchObject({ code: 'MANIFEST_EXPIRED' });
  central.heal();
  await expectUnchanged(1);
});

test('a manifest that is renewed comes whole and is acknowledged, and the next answer is short again', async () => {
  const { manifestId } = await central.publish();
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged', manifestId, ack: 'sent' });
  expect(await preferencesOfCycle()).toEqual(['return=minimal']);
});

const ANOTHER = 'DROP TABLE orders; CREATE TABLE orders (user_id bigint, n int, total float8, PRIMARY KEY (user_id, n))';

test.each([
  ['a dropped table', 'DROP TABLE orders', ['unchanged', 'loaded', 'unchanged']],
  ['a dropped column', 'ALTER TABLE orders DROP total', ['unchanged', 'loaded', 'unchanged']],
  ['a truncated table', 'TRUNCATE orders', ['unchanged', 'loaded', 'unchanged']],
  ['a table that became another one', ANOTHER, ['unchanged', 'loaded', 'unchanged']],
  ['a renamed schema', 'ALTER SCHEMA "Odd ""Names""" RENAME TO gone', ['unchanged', 'unchanged', 'loaded']],
])('%s is found between two unchanged cycles, and loaded again', async (_, alter, actions) => {
  await expectUnchanged(2);
  await edge.query(alter);
  const repaired = await edge.sync();
  expect(repaired).toMatchObject({ httpStatus: 200, status: 'Success' });
  expect(actionsOf(repaired)).toEqual(actions);
  await expectUnchanged(2);
});

test.each([
  ['an added column', 'ALTER TABLE orders ADD extra int', 'ALTER TABLE orders DROP extra'],
  ['a renamed column', 'ALTER TABLE orders RENAME total TO sum', 'ALTER TABLE orders RENAME sum TO total'],
  ['a column of another type', 'ALTER TABLE orders ALTER total TYPE numeric', undefined],
  ['a label of an enum', "ALTER TYPE mood RENAME VALUE 'fine' TO 'good'", "ALTER TYPE mood RENAME VALUE 'good' TO 'fine'"],
  ['a renamed type', 'ALTER TYPE mood RENAME TO temper', 'ALTER TYPE temper RENAME TO mood'],
  [
    'a view in a table’s place',
    'ALTER TABLE orders RENAME TO o; CREATE VIEW orders AS SELECT * FROM o',
    'DROP VIEW orders; ALTER TABLE o RENAME TO orders',
  ],
])('%s is found between two unchanged cycles, and refused', async (_, alter, restore) => {
  await expectUnchanged(2);
  await edge.query(alter);
  for (let cycle = 0; cycle < 2; cycle += 1) expect(await edge.sync()).toMatchObject({ code: 'SCHEMA_MISMATCH' });
  if (restore === undefined) return;
  await edge.query(restore);
  await expectUnchanged(2);
});

test('an index, a constraint, statistics and a vacuum leave the mirror what it is', async () => {
  await expectUnchanged(1);
  await edge.query('CREATE INDEX ON orders (n); ALTER TABLE orders ADD CHECK (n > 0); ANALYZE orders');
  await edge.query('VACUUM orders');
  await expectUnchanged(2);
});

test('a cycle is in the log while central is asked; if that record is lost, its failure is written all the same', async () => {
  const lost: object[] = [];
  central.onRequest = async () => {
    lost.push(...(await edge.query("DELETE FROM waypost.edge_sync_log WHERE status = 'Running' RETURNING id, trigger")));
  };
  central.refusals.set('/request', 'DEVICE_UNKNOWN');
  const { cycleId } = await edge.sync();
  expect(lost).toEqual([{ id: cycleId, trigger: 'request' }]);
  const failed = await edge.query(
    "SELECT id, trigger, error_code, completed_at >= started_at AS ended FROM waypost.edge_sync_log WHERE status = 'Failed'",
  );
  expect(failed).toEqual([{ id: cycleId, trigger: 'request', error_code: 'CENTRAL_REFUSED', ended: true }]);
});

test('the receipt of an acknowledgement goes with the requests of the device while it holds that manifest, after a restart too', async () => {
  const receipt = 'a'.repeat(64);
  central.receipt = receipt;
  await queryAt(source, 'UPDATE users SET balance = balance + 1 WHERE id = 7');
  const { manifestId } = await central.publish();
  expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  await edge.restart();
  await expectUnchanged(1);
  expect(central.haves.at(-1)).toMatchObject({ manifestId, receipt });

  // A central that gives none for the next one.
  central.receipt = undefined;
  await central.change('UPDATE users SET balance = balance + 1 WHERE id = 7');
  expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  await expectUnchanged(1);
  expect(central.haves.at(-1)).not.toHaveProperty('receipt');
});
