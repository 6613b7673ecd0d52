import type { Ack, Manifest } from '@waypost/contracts';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { haveOf, successOf } from '../../testing/messages.js';
import { SHOP_1, SHOP_2 } from '../../testing/shop.js';
import { openDataSource, dataSourceOptions } from '../database/database.module.js';
import { CreateDeviceStates1795300000000 } from '../database/migrations/1795300000000-create-device-states.js';
import { CreateAuditViews1795400000000 } from '../database/migrations/1795400000000-create-audit-views.js';

let server: TestServer;
let central: OwnCentral;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

beforeEach(async () => {
  central = await startOwnCentral({ server });
});
afterEach(() => central?.[Symbol.asyncDispose]());

interface Status {
  verified_manifest_id: string | null;
  verified_at: Date | null;
  last_request_at: Date;
  [column: string]: unknown;
}

async function status(mac = SHOP_1): Promise<Status> {
  const [row] = await central.sql<Status>('SELECT * FROM waypost.device_status WHERE mac = $1', [mac]);
  return row as Status;
}

/** `claim`: which manifest the device says to hold. */
function ask(claim?: Manifest): Promise<Manifest> {
  return central.manifestFor(SHOP_1, claim && haveOf(claim));
}

async function acknowledge(manifest: Manifest, change: Partial<Ack> = {}): Promise<void> {
  const { status: http } = await central.acknowledge(successOf(manifest, change));
  expect(http).toBe(200);
}

const FAILED: Partial<Ack> = { status: 'Failed', localCounts: {}, localChecksums: {}, error: 'LOCK_TIMEOUT: locked' };

/** Turns the clock of what is stored back, so that the next fact is later by more than a clock's tick. */
const age = () =>
  central.sql(
    `UPDATE waypost.device_states SET verified_at = verified_at - interval '1 h', last_request_at = last_request_at - interval '1 h'`,
  );

/** Whether `step` renewed the proof. */
async function proves(step: () => Promise<unknown>): Promise<boolean> {
  await age();
  const before = await status();
  await step();
  const after = await status();
  return Number(after.verified_at) > Number(before.verified_at);
}

const change = () => central.sql('UPDATE vaults SET balance = balance + 1');

test('a device that got a manifest and has proven nothing has never been verified', async () => {
  const manifest = await ask();
  expect(await status()).toMatchObject({
    mac: SHOP_1,
    last_manifest_id: manifest.manifestId,
    verified_manifest_id: null,
    verified_at: null,
    verified_age: null,
    consecutive_failures: 0,
    filters: { shop: '1', active: 't' },
  });
});

test('its successful ack proves it, and so does each later request with that manifest', async () => {
  const manifest = await ask();
  await acknowledge(manifest);
  expect(await status()).toMatchObject({
    verified_manifest_id: manifest.manifestId,
    verified_sequence: String(manifest.sequence),
    verified_epoch: manifest.epoch,
  });
  expect(await proves(() => ask(manifest))).toBe(true);
  expect(await proves(() => acknowledge(manifest))).toBe(true);
});

test('a request proves nothing when it says nothing, something else, or something old', async () => {
  const first = await ask();
  await acknowledge(first);
  expect(await proves(() => ask())).toBe(false);
  await change();
  // It holds what it proved, but there is something newer for it now.
  let second!: Manifest;
  expect(await proves(async () => (second = await ask(first)))).toBe(false);
  expect(await proves(() => ask(first))).toBe(false);
  // It claims what it has not proven.
  expect(await proves(() => ask(second))).toBe(false);
  expect(await status()).toMatchObject({ verified_manifest_id: first.manifestId, last_manifest_id: second.manifestId });
  expect(await proves(() => acknowledge(second))).toBe(true);
  expect(await status()).toMatchObject({ verified_manifest_id: second.manifestId });
});

test('after a failed ack of the manifest, holding it proves nothing until a success follows', async () => {
  const manifest = await ask();
  await acknowledge(manifest);
  expect(await proves(() => acknowledge(manifest, FAILED))).toBe(false);
  expect(await proves(() => ask(manifest))).toBe(false);
  expect(await status()).toMatchObject({ consecutive_failures: 1, last_error_code: 'LOCK_TIMEOUT', last_error: 'LOCK_TIMEOUT: locked' });
  expect(await proves(() => acknowledge(manifest))).toBe(true);
  expect(await status()).toMatchObject({ consecutive_failures: 0, last_error_code: 'LOCK_TIMEOUT' });
  expect(await proves(() => ask(manifest))).toBe(true);
});

test('a late ack of an older manifest does not take the device back', async () => {
  const first = await ask();
  await change();
  const second = await ask();
  await acknowledge(second);
  expect(await proves(() => acknowledge(first))).toBe(false);
  expect(await status()).toMatchObject({ verified_manifest_id: second.manifestId });
});

test('a success that central finds wrong is a failure, counted once however often it is sent', async () => {
  const manifest = await ask();
  for (let at = 0; at < 3; at += 1) await acknowledge(manifest, { localCounts: {} });
  expect(await status()).toMatchObject({
    verified_at: null,
    consecutive_failures: 1,
    last_error_code: 'VERIFICATION_FAILED',
    last_error: expect.stringMatching(/^accounts: no rows/),
  });
});

test('refusals of a known device count; a MAC that never got a manifest leaves no state', async () => {
  await acknowledge(await ask());
  await central.sql('UPDATE devices SET active = false');
  for (const mac of [SHOP_1, SHOP_1, SHOP_2, '02:00:00:00:00:99', 'nonsense']) await central.post('/api/device-sync/request', { mac });
  expect(await status()).toMatchObject({
    consecutive_failures: 2,
    last_error_code: 'DEVICE_INACTIVE',
    last_error: expect.stringContaining(SHOP_1),
  });
  expect(await central.sql('SELECT mac FROM waypost.device_states')).toEqual([{ mac: SHOP_1 }]);
  expect(await central.audit(5)).toMatchObject([
    { mac: SHOP_1 },
    { mac: SHOP_1 },
    { mac: SHOP_2 },
    { mac: '02:00:00:00:00:99' },
    { mac: 'nonsense' },
  ]);
});

test('a message that is malformed, or names some manifest, changes nothing of the device that it claims to be', async () => {
  const manifest = await ask();
  await acknowledge(manifest);
  const before = await status();
  const unknown = '01J9ZK4Q8V5N6M7P8R9S0T1V2W';
  const forged: [string, object | string][] = [
    ['request', { mac: SHOP_1, payload: 'x' }],
    ['request', { mac: SHOP_1, have: {} }],
    ['ack', { mac: SHOP_1, manifestId: unknown }],
    ['ack', { mac: SHOP_1, manifestId: unknown, status: 'Failed', localCounts: {}, localChecksums: {}, durationMs: 1 }],
  ];
  for (const [path, body] of forged) expect((await central.post(`/api/device-sync/${path}`, body)).status).toBeGreaterThanOrEqual(400);
  await central.download({ ...manifest, manifestId: unknown }, 'accounts');
  await central.download(manifest, 'strangers');
  expect((await central.audit(6)).map(({ mac, status: outcome }) => [mac, outcome])).toEqual(
    Array.from({ length: 6 }, () => [SHOP_1, 'Refused']),
  );
  const after = await status();
  expect({ ...after, verified_age: 0 }).toEqual({ ...before, verified_age: 0 });
});

test('the state of a polling device is updated in place', async () => {
  const manifest = await ask();
  await acknowledge(manifest);
  for (let at = 0; at < 20; at += 1) await ask(manifest);
  await central.sql('SELECT pg_stat_force_next_flush()');
  // Each connection of central reports its own counts within a second or so.
  let updates = { all: 0, hot: 0 };
  await until(async () => {
    const text = `SELECT n_tup_upd::int AS all, n_tup_hot_upd::int AS hot FROM pg_stat_user_tables WHERE relname = 'device_states'`;
    [updates] = (await central.sql<typeof updates>(text)) as [typeof updates];
    return updates.all >= 21;
  });
  expect(updates.hot).toBe(updates.all);
});

test('the migration carries over what the audit tells', async () => {
  const first = await ask();
  await acknowledge(first);
  await acknowledge(first, FAILED);
  await change();
  const second = await ask(first);
  await acknowledge(second, { ...FAILED, error: 'no code' });
  await central.manifestFor(SHOP_2);
  const columns = `mac, last_manifest_id, verified_manifest_id, verified_sequence, verified_epoch, failed_manifest_id, last_error_code, last_error,
                   consecutive_failures, filters, round(extract(epoch FROM verified_at)) AS verified_at, round(extract(epoch FROM last_failure_at)) AS last_failure_at`;
  const kept = await central.sql(`SELECT ${columns} FROM waypost.device_states ORDER BY mac`);
  expect(kept).toMatchObject([
    { failed_manifest_id: second.manifestId, consecutive_failures: 2, last_error_code: 'UNKNOWN' },
    { mac: SHOP_2 },
  ]);

  const source = await openDataSource(dataSourceOptions(central.databaseUrl));
  const runner = source.createQueryRunner();
  await new CreateAuditViews1795400000000().down(runner);
  await new CreateDeviceStates1795300000000().down(runner);
  await new CreateDeviceStates1795300000000().up(runner);
  await new CreateAuditViews1795400000000().up(runner);
  await source.destroy();
  expect(await central.sql(`SELECT ${columns} FROM waypost.device_states ORDER BY mac`)).toEqual(kept);
});
