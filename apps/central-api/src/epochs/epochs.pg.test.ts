import type { Manifest } from '@waypost/contracts';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { startCentral } from '../../testing/central.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { failureOf, haveOf, successOf } from '../../testing/messages.js';
import { SHOP_1, SHOP_2, SHOP_PLAN, SHOP_SCHEMA } from '../../testing/shop.js';
import { runSql } from '../../testing/sql.js';

let server: TestServer;
let central: OwnCentral;
let first: Manifest;

beforeAll(async () => {
  server = await startTestServer();
  central = await startOwnCentral({ server });
});

afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

beforeEach(async () => {
  first = await central.manifestFor(SHOP_1);
});

test('a device that holds what central gave it stays in its epoch', async () => {
  expect(await central.poll(first)).toEqual(first);
});

test('a sequence of another epoch proves nothing', async () => {
  const other = { ...first, epoch: 'another' };
  expect((await central.poll({ ...other, sequence: other.sequence + 1000 })).epoch).toBe(first.epoch);
});

/** Acknowledges a success; what the device gets for it. */
async function acknowledge(manifest: Manifest): Promise<string | undefined> {
  const { body } = await central.acknowledge(successOf(manifest));
  expect(body.result).toBe('Success');
  return body.receipt;
}

/** Gives a device a manifest, takes its acknowledgement, and takes central back to before that, as a snapshot of its storage does. */
async function loseManifest(): Promise<{ lost: Manifest; receipt: string | undefined }> {
  await central.sql(`UPDATE vaults SET balance = balance + 1 WHERE shop = 1`);
  const lost = await central.manifestFor(SHOP_1);
  const receipt = await acknowledge(lost);
  await central.sql(`DELETE FROM waypost.manifests WHERE manifest_id = $1`, [lost.manifestId]);
  await central.sql(`SELECT setval('waypost.manifest_sequence', $1)`, [lost.sequence - 1]);
  return { lost, receipt };
}

test('a device that holds an acknowledged manifest which central lost proves that the database went back: a new epoch starts, once', async () => {
  const { lost, receipt } = await loseManifest();
  const proof = { have: { ...haveOf(lost).have, receipt } };
  const [one, two] = await Promise.all([central.manifestFor(SHOP_1, proof), central.manifestFor(SHOP_2)]);
  expect(one.epoch).not.toBe(lost.epoch);
  expect((await central.poll(two)).epoch).toBe(one.epoch);
  expect((await central.poll(one)).manifestId).toBe(one.manifestId);
  expect((await central.manifestFor(SHOP_1, proof)).epoch).toBe(one.epoch);
});

test.each<[string, (mine: string, other: string | undefined) => { mac?: string; ahead?: number; receipt?: string | undefined }]>([
  ['that was never given out', () => ({ ahead: 2 ** 50 })],
  ['with another manifest’s receipt', (mine) => ({ ahead: 1, receipt: mine })],
  ['with another device’s receipt', (mine) => ({ mac: SHOP_2, receipt: mine })],
  ['with the receipt of a manifest of its own that is not ahead', (_, other) => ({ mac: SHOP_2, receipt: other })],
  ['with a receipt that is none', () => ({ ahead: 2, receipt: 'x' })],
])('a sequence %s moves no epoch, and costs no manifest each time', async (_, claimOf) => {
  const other = await acknowledge(await central.manifestFor(SHOP_2));
  const { lost, receipt } = await loseManifest();
  const { mac = SHOP_1, ahead = 0, ...proof } = claimOf(receipt as string, other);
  const claim = { have: { ...haveOf({ ...lost, sequence: lost.sequence + ahead }).have, ...proof } };
  const given = await central.manifestFor(mac, claim);
  expect(given.epoch).toBe(lost.epoch);
  expect((await central.manifestFor(mac, claim)).manifestId).toBe(given.manifestId);
});

test('only a success that central found right gets a receipt, the same each time', async () => {
  const receipt = await acknowledge(first);
  expect(receipt).toMatch(/^[0-9a-f]{64}$/);
  expect(await acknowledge(first)).toBe(receipt);
  for (const status of ['Success', 'Failed'] as const) {
    const { body } = await central.acknowledge({ ...failureOf(first, null), status });
    expect(body.result).toBe('Failed');
    expect(body).not.toHaveProperty('receipt');
  }
});

test('the key that receipts are made with is readable for central alone, and changes with the epoch', async () => {
  const keys = () => central.sql<{ epoch: string; key: string }>(`SELECT epoch, encode(key, 'hex') AS key FROM waypost.receipt_keys`);
  const [before] = await keys();
  expect(before).toEqual({ epoch: first.epoch, key: expect.stringMatching(/^[0-9a-f]{64}$/) });
  await central.sql('DELETE FROM waypost.central_state');
  const { epoch } = await central.manifestFor(SHOP_1);
  const [after] = await keys();
  expect(after?.epoch).toBe(epoch);
  expect(after?.key).not.toBe(before?.key);
});

/** What pg_restore does with a table: its rows are written by another transaction than before. */
const RESTORE_ROWS = `
  CREATE TEMPORARY TABLE dumped ON COMMIT DROP AS SELECT * FROM waypost.central_state;
  TRUNCATE waypost.central_state;
  INSERT INTO waypost.central_state SELECT * FROM dumped;`;

test('a dump that is restored into the same database starts a new epoch, once', async () => {
  await central.sql(RESTORE_ROWS);
  const second = await central.poll(first);
  expect(second.epoch).not.toBe(first.epoch);
  expect((await central.poll(second)).manifestId).toBe(second.manifestId);
});

test.each([
  'VACUUM FREEZE waypost.central_state',
  'VACUUM FULL waypost.central_state',
  'CLUSTER waypost.central_state USING central_state_pkey',
])('%s leaves the epoch as it is', async (statement) => {
  await central.sql(statement);
  expect((await central.poll(first)).epoch).toBe(first.epoch);
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
  const again = await central.manifestFor(SHOP_1, haveOf({ ...later, epoch: first.epoch }));
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

test('an installation of the version before keeps its epoch when it is updated, and gets a key for receipts', async () => {
  const { url } = await server.createDatabase('older');
  await runSql(url, SHOP_SCHEMA);
  let before: Manifest;
  {
    await using older = await startCentral({ databaseUrl: url, plan: SHOP_PLAN });
    before = await older.manifestFor(SHOP_1);
    await older.sql(`DROP TABLE waypost.receipt_keys; DELETE FROM waypost.central_state WHERE key = 'written_by';
                     DELETE FROM waypost.central_migrations WHERE name = 'CreateReceiptKeys1796200000000'`);
  }
  await runSql(url, 'CREATE ROLE viewer; ALTER DEFAULT PRIVILEGES IN SCHEMA waypost GRANT SELECT ON TABLES TO viewer');
  await using updated = await startCentral({ databaseUrl: url, plan: SHOP_PLAN });
  expect(await updated.manifestFor(SHOP_1)).toEqual(before);
  expect(
    await updated.sql(
      `SELECT epoch, length(key) AS bytes, has_table_privilege('viewer', 'waypost.receipt_keys', 'SELECT') AS "isReadable" FROM waypost.receipt_keys`,
    ),
  ).toEqual([{ epoch: before.epoch, bytes: 32, isReadable: false }]);
});
