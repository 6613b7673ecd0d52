import type { Manifest } from '@waypost/contracts';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type Central, startCentral } from '../../testing/central.js';
import { SHOP_1, SHOP_2, SHOP_PLAN, SHOP_SCHEMA } from '../../testing/shop.js';
import { runSql } from '../../testing/sql.js';

let server: TestServer;
let central: Central;
let first: Manifest;

beforeAll(async () => {
  server = await startTestServer();
  const { url } = await server.createDatabase('shop');
  await runSql(url, SHOP_SCHEMA);
  central = await startCentral({ databaseUrl: url, plan: SHOP_PLAN });
});

afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

beforeEach(async () => {
  first = await central.manifestFor(SHOP_1);
});

function have({ epoch, sequence, manifestId }: Manifest, ahead = 0) {
  return { have: { epoch, sequence: sequence + ahead, manifestId } };
}

test('a device that holds what central gave it stays in its epoch', async () => {
  expect(await central.manifestFor(SHOP_1, have(first))).toEqual(first);
});

test('a sequence of another epoch proves nothing', async () => {
  const other = { ...first, epoch: 'another' };
  expect((await central.manifestFor(SHOP_1, have(other, 1000))).epoch).toBe(first.epoch);
});

test('a device that holds a sequence never given out shows that the database was restored: a new epoch starts, once', async () => {
  const [{ last }] = (await central.sql('SELECT last_value::int AS last FROM waypost.manifest_sequence')) as [{ last: number }];
  const ahead = { have: { epoch: first.epoch, sequence: last + 1, manifestId: first.manifestId } };
  const [one, two] = await Promise.all([central.manifestFor(SHOP_1, ahead), central.manifestFor(SHOP_2, ahead)]);
  expect(one.epoch).not.toBe(first.epoch);
  expect(two.epoch).toBe(one.epoch);
  expect((await central.manifestFor(SHOP_1, have(one))).manifestId).toBe(one.manifestId);
});

test('a database that is another one than before starts a new epoch', async () => {
  await central.sql(`UPDATE waypost.central_state SET value = 'another' WHERE key = 'cluster'`);
  const second = await central.manifestFor(SHOP_1);
  expect(second.epoch).not.toBe(first.epoch);
  expect((await central.manifestFor(SHOP_1)).epoch).toBe(second.epoch);
});

test('a copy of the database, made beside it, is in an epoch of its own', async () => {
  const copy = await server.createDatabase('copy');
  const [state] = await central.sql<{ epoch: string; cluster: string }>(
    `SELECT max(value) FILTER (WHERE key = 'epoch') AS epoch, max(value) FILTER (WHERE key = 'cluster') AS cluster FROM waypost.central_state`,
  );
  await runSql(copy.url, SHOP_SCHEMA);
  await using other = await startCentral({ databaseUrl: copy.url, plan: SHOP_PLAN });
  await other.sql(`INSERT INTO waypost.central_state VALUES ('epoch', $1), ('cluster', $2)`, [state?.epoch, state?.cluster]);
  expect((await other.manifestFor(SHOP_1)).epoch).not.toBe(first.epoch);
});
