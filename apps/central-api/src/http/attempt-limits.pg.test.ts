import { generateKeyPairSync } from 'node:crypto';
import { JWT_TYPES } from '@waypost/contracts';
import { queryOn, withClient } from '@waypost/runtime';
import { testPool } from '../../../../test/support/test-pool.js';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { query } from '../../../../test/support/sync-pair.js';
import { DeviceClient } from '../../testing/device-client.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { SHOP_1, SHOP_2 } from '../../testing/shop.js';
import { CountedRefusals } from '../audit/counted-refusals.js';
import { invite } from '../read-models/identities.js';

const REQUEST = '/api/device-sync/request';
const LIMIT = 5;
const TOO_MANY = { status: 429, body: { code: 'TOO_MANY_REQUESTS', hint: expect.stringContaining('Retry-After') as string } };

let server: TestServer;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

const start = (env: Record<string, string> = {}): Promise<OwnCentral> =>
  startOwnCentral({ server, env: { AUTH: 'device', FAILED_ATTEMPTS_LIMIT: String(LIMIT), ...env } });

async function tokenFor(central: OwnCentral, uses = 1, mac: string | undefined = SHOP_1): Promise<string> {
  await using stack = new AsyncDisposableStack();
  const pool = testPool(central.databaseUrl);
  stack.defer(() => pool.end());
  const invitation = { mac: uses === 1 ? mac : undefined, name: undefined, uses, lifeMs: 3_600_000, needsApproval: false, by: 'test' };
  return (await withClient(pool, (client) => invite(queryOn(client), invitation))).token;
}

async function enrolled(central: OwnCentral, mac = SHOP_1): Promise<DeviceClient> {
  const device = new DeviceClient(central, mac);
  expect((await device.enroll(await tokenFor(central, 1, mac))).status).toBe(200);
  return device;
}

/** Asks as one that has lost its key: central knows none of it. */
function strangersAssertion(like: DeviceClient): Promise<string> {
  const stranger = new DeviceClient({} as OwnCentral, like.mac, generateKeyPairSync('ed25519').privateKey);
  stranger.enrolled = like.enrolled;
  return stranger.assertion();
}

async function statusesOf(count: number, ask: () => Promise<{ status: number }>): Promise<number[]> {
  const statuses: number[] = [];
  for (let at = 0; at < count; at += 1) statuses.push((await ask()).status);
  return statuses;
}

describe('an address that fails too often', () => {
  test('without a token is told when to come again, and keeps no device behind it from working', async () => {
    await using central = await start();
    const device = await enrolled(central);
    const headers = await device.authorization();
    const ask = (more = {}) => central.post(REQUEST, { mac: SHOP_1 }, more);
    expect(await statusesOf(LIMIT + 1, ask)).toEqual([...Array<number>(LIMIT).fill(401), 429]);
    const refused = await ask();
    expect(refused).toMatchObject(TOO_MANY);
    const seconds = Number(refused.headers.get('retry-after'));
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual(60);
    expect((await ask(headers)).status).toBe(200);
    expect((await device.askForToken()).status).toBe(200);
    await enrolled(central, SHOP_2);
  });

  test('for access tokens gets none, but for identities that were good lately', async () => {
    await using central = await start();
    const [device, other] = [await enrolled(central), await enrolled(central, SHOP_2)];
    expect((await device.askForToken()).status).toBe(200);
    const fail = async () => device.askForToken(strangersAssertion(device));
    expect(await statusesOf(LIMIT + 1, fail)).toEqual([...Array<number>(LIMIT).fill(401), 429]);
    expect(await other.askForToken()).toMatchObject(TOO_MANY);
    expect((await device.askForToken()).status).toBe(200);
    expect((await central.post(REQUEST, { mac: SHOP_1 }, await device.authorization())).status).toBe(200);
  });

  test('cannot say that it is another one, unless a proxy that is trusted says so', async () => {
    const from = (address: string) => ({ 'x-forwarded-for': address });
    await using direct = await start();
    await statusesOf(LIMIT, () => direct.post(REQUEST, {}, from('192.0.2.1')));
    expect((await direct.post(REQUEST, {}, from('192.0.2.2'))).status).toBe(429);
    await using proxied = await start({ TRUST_PROXY: '192.0.2.128/25, 127.0.0.0/8' });
    await statusesOf(LIMIT, () => proxied.post(REQUEST, {}, from('192.0.2.1')));
    expect((await proxied.post(REQUEST, {}, from('192.0.2.1'))).status).toBe(429);
    // What stands before the trusted proxy's own entry, the client wrote.
    expect((await proxied.post(REQUEST, {}, from('192.0.2.7, 192.0.2.1'))).status).toBe(429);
    expect((await proxied.post(REQUEST, {}, from('192.0.2.2'))).status).toBe(401);
  });

  test('is one network where addresses are IPv6', async () => {
    await using central = await start({ TRUST_PROXY: '127.0.0.1' });
    const ask = (host: string) => central.post(REQUEST, {}, { 'x-forwarded-for': `2001:db8:0:1::${host}` });
    for (const host of ['1', '2', '3', '4', 'ffff']) expect((await ask(host)).status).toBe(401);
    expect((await ask('5')).status).toBe(429);
    expect((await central.post(REQUEST, {}, { 'x-forwarded-for': '2001:db8:0:2::1' })).status).toBe(401);
  });
});

test('one identity that fails again and again leaves the rest to its neighbours', async () => {
  await using central = await start({ FAILED_ATTEMPTS_LIMIT: '300' });
  const [device, other] = [await enrolled(central), await enrolled(central, SHOP_2)];
  const assertion = await device.assertion({}, { typ: JWT_TYPES.rotation });
  const statuses = await statusesOf(32, () => device.askForToken(assertion));
  expect(statuses).toEqual([...Array<number>(30).fill(401), 429, 429]);
  expect((await other.askForToken()).status).toBe(200);
});

test('enrollments are limited, failed or not', async () => {
  await using central = await start({ ENROLLMENT_LIMIT: '2' });
  const token = await tokenFor(central, 9);
  const enroll = (mac: string) => new DeviceClient(central, mac).enroll(token);
  expect((await enroll(SHOP_1)).status).toBe(200);
  expect((await central.post('/api/devices/enroll', {})).status).toBe(400);
  expect(await enroll(SHOP_2)).toMatchObject(TOO_MANY);
  expect(await central.sql('SELECT mac FROM waypost.devices')).toEqual([{ mac: SHOP_1 }]);
});

test('with off nothing is limited, and a thousand valid assertions at once never are', async () => {
  await using central = await start({ FAILED_ATTEMPTS_LIMIT: 'off', ENROLLMENT_LIMIT: 'off' });
  const device = await enrolled(central);
  expect(new Set(await statusesOf(60, async () => device.askForToken(strangersAssertion(device))))).toEqual(new Set([401]));
  await using limited = await start();
  const busy = await enrolled(limited);
  const answers = await Promise.all(Array.from({ length: 1000 }, () => busy.askForToken()));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
});

test('refusals that are too many to be rows are counted by hour', async () => {
  await using central = await start();
  await statusesOf(40, () => central.post(REQUEST, { mac: SHOP_1 }));
  await central.app.get(CountedRefusals).store();
  await central.app.get(CountedRefusals).store();
  const [{ rows }] = (await central.sql<{ rows: number }>(
    "SELECT count(*)::int AS rows FROM waypost.sync_requests WHERE status = 'Refused'",
  )) as [{ rows: number }];
  expect(rows).toBeLessThan(40);
  const counted = await central.sql(
    "SELECT reason, sum(requests)::int AS requests FROM waypost.requests_by_hour WHERE status = 'Refused' GROUP BY reason ORDER BY reason",
  );
  expect(counted).toEqual([
    { reason: 'AUTH_REQUIRED', requests: LIMIT },
    { reason: 'TOO_MANY_REQUESTS', requests: 40 - LIMIT },
  ]);
});

test('counts of refusals are stored when central ends', async () => {
  const central = await start();
  await statusesOf(40, () => central.post(REQUEST, { mac: SHOP_1 }));
  const { databaseUrl } = central;
  await central[Symbol.asyncDispose]();
  const counted = await query(databaseUrl, 'SELECT sum(requests)::int AS requests FROM waypost.requests_by_hour');
  expect(counted).toEqual([{ requests: 40 }]);
});
