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

test('a device that is ahead of its own last manifest, not of central, gets a new one: it would refuse the old', async () => {
  await central.sql(`UPDATE vaults SET balance = balance + 1 WHERE shop = 2`);
  const later = await central.manifestFor(SHOP_2);
  expect(later.sequence).toBeGreaterThan(first.sequence);
  const again = await central.manifestFor(SHOP_1, { have: { epoch: first.epoch, sequence: later.sequence, manifestId: later.manifestId } });
  expect(again.epoch).toBe(first.epoch);
  expect(again.sequence).toBeGreaterThan(later.sequence);
});

test('of two manifests the one with the higher sequence is the last one, whatever their times say', async () => {
  await central.sql(`UPDATE vaults SET balance = balance + 1 WHERE shop = 1`);
  const second = await central.manifestFor(SHOP_1);
  await central.sql(`UPDATE waypost.manifests SET generated_at = generated_at + interval '1 year' WHERE manifest_id = $1`, [
    first.manifestId,
  ]);
  expect((await central.manifestFor(SHOP_1)).manifestId).toBe(second.manifestId);
  await central.sql(`UPDATE vaults SET balance = balance - 1 WHERE shop = 1`);
  const third = await central.manifestFor(SHOP_1);
  expect(third.sequence).toBeGreaterThan(second.sequence);
});

test('a manifest that was made while the clock was ahead is not given for years', async () => {
  await central.sql(`UPDATE waypost.manifests SET expires_at = expires_at + interval '10 years' WHERE manifest_id = $1`, [
    first.manifestId,
  ]);
  expect((await central.manifestFor(SHOP_1)).manifestId).not.toBe(first.manifestId);
});
