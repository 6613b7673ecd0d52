import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { JWT_TYPES, type Problem } from '@waypost/contracts';
import { queryOn, withClient } from '@waypost/runtime';
import type pg from 'pg';
import { testPool } from '../../../../test/support/test-pool.js';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { DeviceClient } from '../../testing/device-client.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { SHOP_1, SHOP_2 } from '../../testing/shop.js';
import { rawPublicKey } from '../identity/ed25519.js';
import { approve, findDevice, type Invitation, invite, revoke, rotate } from '../read-models/identities.js';

const REQUEST = '/api/device-sync/request';

let server: TestServer;
let central: OwnCentral;
let pool: pg.Pool;

beforeAll(async () => {
  server = await startTestServer();
  central = await startOwnCentral({ server, env: { AUTH: 'device' } });
  pool = testPool(central.databaseUrl, 2);
});
afterAll(async () => {
  await pool?.end();
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});
afterEach(() => central.sql('DELETE FROM waypost.enrollment_tokens; DELETE FROM waypost.devices'));

async function tokenFor(more: Partial<Invitation>): Promise<string> {
  const wanted = { mac: undefined, name: undefined, uses: 1, lifeMs: 3_600_000, needsApproval: false, by: 'test', ...more };
  return (await withClient(pool, (client) => invite(queryOn(client), wanted))).token;
}

async function enrolled(mac = SHOP_1): Promise<DeviceClient> {
  const device = new DeviceClient(central, mac);
  expect(await device.enroll(await tokenFor({ mac }))).toMatchObject({ status: 200, body: { mac, state: 'active' } });
  return device;
}

const asOperator = <T>(work: (query: ReturnType<typeof queryOn>) => Promise<T>): Promise<T> =>
  withClient(pool, (client) => work(queryOn(client)));
const idOf = async (mac: string): Promise<string> => (await asOperator((query) => findDevice(query, mac))).id;
const ask = async (headers: Record<string, string>, mac = SHOP_1): ReturnType<typeof central.post<Problem>> =>
  central.post(REQUEST, { mac }, headers);

describe('a device that is enrolled', () => {
  test('gets its manifest with its token, and nothing without', async () => {
    const device = await enrolled();
    expect(await ask(await device.authorization())).toMatchObject({ status: 200, body: { manifest: { device: { mac: SHOP_1 } } } });
    const stranger = await ask({});
    expect(stranger).toMatchObject({ status: 401, body: { code: 'AUTH_REQUIRED' } });
    expect(stranger.headers.get('www-authenticate')).toBe('Bearer');
    expect(await central.audit(1)).toMatchObject([{ status: 'Refused', reason: 'AUTH_REQUIRED' }]);
  });

  test('is refused where its message names another device, which the audit knows', async () => {
    const headers = await (await enrolled()).authorization();
    expect(await ask(headers, SHOP_2)).toMatchObject({ status: 403, body: { code: 'MANIFEST_NOT_YOURS' } });
    expect(await central.audit(1)).toMatchObject([{ mac: SHOP_1, status: 'Refused', reason: 'MANIFEST_NOT_YOURS' }]);
  });

  test('gets no manifest of another device', async () => {
    const [one, two] = [await enrolled(SHOP_1), await enrolled(SHOP_2)];
    const { body } = await central.post<{ manifest: { manifestId: string } }>(REQUEST, { mac: SHOP_1 }, await one.authorization());
    const answer = await fetch(`${central.url}/api/device-sync/manifests/${body.manifest.manifestId}`, {
      headers: await two.authorization(),
    });
    expect(await answer.json()).toMatchObject({ code: 'MANIFEST_NOT_YOURS' });
  });

  test.each([
    ['lower case', 'bearer'],
    ['upper case', 'BEARER'],
  ])('may write the scheme in %s', async (_, scheme) => {
    const { authorization } = await (await enrolled()).authorization();
    expect((await ask({ authorization: authorization.replace('Bearer', scheme) })).status).toBe(200);
  });

  test('is refused at once when it was revoked, and gets no token', async () => {
    const device = await enrolled();
    const headers = await device.authorization();
    await asOperator(async (query) => revoke(query, await idOf(SHOP_1)));
    expect(await ask(headers)).toMatchObject({ status: 401, body: { code: 'TOKEN_INVALID' } });
    expect(await device.askForToken()).toMatchObject({ status: 401, body: { code: 'ASSERTION_INVALID' } });
    const again = new DeviceClient(central, SHOP_1);
    expect((await again.enroll(await tokenFor({ mac: SHOP_1 }))).status).toBe(200);
    expect((await ask(await again.authorization())).status).toBe(200);
    expect((await ask(headers)).status).toBe(401);
  });

  test('keeps its old key until a new one was used', async () => {
    const [old, next] = [await enrolled(), new DeviceClient(central, SHOP_1)];
    await next.enroll(await tokenFor({ mac: SHOP_1 }));
    expect((await ask(await old.authorization())).status).toBe(200);
    const headers = await old.authorization();
    expect((await ask(await next.authorization())).status).toBe(200);
    expect((await old.askForToken()).status).toBe(401);
    expect((await ask(headers)).status).toBe(401);
  });
});

describe('an enrollment', () => {
  test('whose answer was lost is answered once more, and counts once', async () => {
    const [device, token] = [new DeviceClient(central, SHOP_1), await tokenFor({ mac: SHOP_1 })];
    const first = await device.enroll(token);
    expect(await device.enroll(token)).toMatchObject({ status: 200, body: first.body });
    expect(await new DeviceClient(central, SHOP_1).enroll(token)).toMatchObject({ status: 403, body: { code: 'ENROLLMENT_REFUSED' } });
  });

  test.each<[string, (device: DeviceClient) => Promise<{ status: number; body: object }>]>([
    ['an unknown token', (device) => device.enroll(`wpe_${'A'.repeat(43)}`)],
    ['a token that has expired', async (device) => device.enroll(await tokenFor({ mac: SHOP_1, lifeMs: -1 }))],
    ['a token for another device', async (device) => device.enroll(await tokenFor({ mac: SHOP_2 }))],
    ['a proof for another token', async (device) => device.enroll(await tokenFor({ mac: SHOP_1 }), { token: 'a'.repeat(64) })],
    ['a proof of another type', async (device) => device.enroll(await tokenFor({ mac: SHOP_1 }), {}, { typ: JWT_TYPES.assertion })],
    [
      'the key of another device',
      async (device) => {
        const jwk = { kty: 'OKP', crv: 'Ed25519', x: rawPublicKey(generateKeyPairSync('ed25519').privateKey).toString('base64url') };
        return device.enroll(await tokenFor({ mac: SHOP_1 }), {}, { jwk });
      },
    ],
  ])('with %s is refused, and leaves no key', async (_, enroll) => {
    expect(await enroll(new DeviceClient(central, SHOP_1))).toMatchObject({ status: 403, body: { code: 'ENROLLMENT_REFUSED' } });
    expect(await central.sql('SELECT FROM waypost.device_keys')).toEqual([]);
    expect(await central.audit(1)).toMatchObject([{ operation: 'enroll', status: 'Refused', reason: 'ENROLLMENT_REFUSED' }]);
  });

  test('with a token for many serves as many new devices, and takes over none', async () => {
    const token = await tokenFor({ uses: 2 });
    await enrolled(SHOP_1);
    expect(await new DeviceClient(central, SHOP_1).enroll(token)).toMatchObject({ status: 403, body: { code: 'ENROLLMENT_REFUSED' } });
    expect((await new DeviceClient(central, SHOP_2).enroll(token)).status).toBe(200);
    expect((await new DeviceClient(central, '02:00:00:00:99:01').enroll(token)).status).toBe(200);
    expect((await new DeviceClient(central, '02:00:00:00:99:02').enroll(token)).status).toBe(403);
  });

  test('of many at one time with a token for one lets one in', async () => {
    const token = await tokenFor({ mac: SHOP_1 });
    const answers = await Promise.all(Array.from({ length: 8 }, () => new DeviceClient(central, SHOP_1).enroll(token)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 403, 403, 403, 403, 403, 403, 403]);
  });

  test('waits for an operator where the token says so', async () => {
    const [device, token] = [new DeviceClient(central, SHOP_1), await tokenFor({ uses: 5, needsApproval: true })];
    expect(await device.enroll(token)).toMatchObject({ status: 200, body: { state: 'pending' } });
    expect(await device.askForToken()).toMatchObject({ status: 403, body: { code: 'DEVICE_PENDING' } });
    expect(await asOperator(async (query) => approve(query, await idOf(SHOP_1)))).toEqual([device.thumbprint]);
    expect(await device.enroll(token)).toMatchObject({ status: 200, body: { state: 'active' } });
    expect((await ask(await device.authorization())).status).toBe(200);
  });
});

describe('a key that replaces another', () => {
  test('is asked for with the next token, and retires the other with its first use', async () => {
    const device = await enrolled();
    expect((await device.askForToken()).body.rotate).toBe(false);
    expect(await asOperator(async (query) => rotate(query, await idOf(SHOP_1)))).toBe(true);
    const { body: token } = await device.askForToken();
    expect(token.rotate).toBe(true);
    const successor = new DeviceClient(central, SHOP_1);
    expect(await device.vouchFor(successor)).toMatchObject({ status: 200, body: { state: 'active' } });
    expect(await device.vouchFor(successor)).toMatchObject({ status: 200, body: { state: 'active' } });
    expect((await ask({ authorization: `Bearer ${token.access_token}` })).status).toBe(200);
    expect((await successor.askForToken()).body.rotate).toBe(false);
    expect((await ask({ authorization: `Bearer ${token.access_token}` })).status).toBe(401);
    expect(await device.vouchFor(successor)).toMatchObject({ status: 401, body: { code: 'ASSERTION_INVALID' } });
  });

  test.each<[string, number, string, (device: DeviceClient) => Promise<{ status: number; body: object }>]>([
    ['of another MAC', 403, 'ENROLLMENT_REFUSED', (device) => device.vouchFor(new DeviceClient(central, SHOP_2))],
    [
      'that was not vouched for',
      403,
      'ENROLLMENT_REFUSED',
      (device) => device.vouchFor(new DeviceClient(central, SHOP_1), { jkt: 'A'.repeat(43) }),
    ],
    [
      'with an assertion in place of the voucher',
      401,
      'ASSERTION_INVALID',
      (device) => device.vouchFor(new DeviceClient(central, SHOP_1), {}, { typ: JWT_TYPES.assertion }),
    ],
    [
      'with a voucher of yesterday',
      401,
      'CLOCK_SKEWED',
      (device) => device.vouchFor(new DeviceClient(central, SHOP_1), { iat: Math.floor(Date.now() / 1000) - 86_400 }),
    ],
    [
      'with the voucher of a revoked device',
      401,
      'ASSERTION_INVALID',
      async (device) => {
        await asOperator(async (query) => revoke(query, await idOf(SHOP_1)));
        return device.vouchFor(new DeviceClient(central, SHOP_1));
      },
    ],
    [
      'that another device has',
      403,
      'ENROLLMENT_REFUSED',
      async (device) => {
        const other = await enrolled(SHOP_2);
        return device.vouchFor(new DeviceClient(central, SHOP_1, other.privateKey));
      },
    ],
  ])('%s is refused: %i %s', async (_, status, code, replace) => {
    const device = await enrolled();
    expect(await replace(device)).toMatchObject({ status, body: { code } });
    expect(
      await central.sql(`SELECT FROM waypost.device_keys k JOIN waypost.devices d ON d.id = k.device_id WHERE d.mac = '${SHOP_1}'`),
    ).toHaveLength(1);
  });
});

describe('an assertion', () => {
  test('counts once', async () => {
    const device = await enrolled();
    const assertion = await device.assertion();
    expect((await device.askForToken(assertion)).status).toBe(200);
    expect(await device.askForToken(assertion)).toMatchObject({ status: 401, body: { code: 'ASSERTION_INVALID' } });
  });

  const now = (): number => Math.floor(Date.now() / 1000);
  test.each<[string, string, (device: DeviceClient) => Promise<string>]>([
    ['is too old', 'CLOCK_SKEWED', (device) => device.assertion({ iat: now() - 86_400 })],
    ['is from the future', 'CLOCK_SKEWED', (device) => device.assertion({ iat: now() + 86_400 })],
    ['is for another fleet', 'ASSERTION_INVALID', (device) => device.assertion({ aud: 'urn:waypost:fleet:01JZ0000000000000000000000' })],
    ['names another device', 'ASSERTION_INVALID', (device) => device.assertion({ iss: '01JZ0000000000000000000000' })],
    ['is of another type', 'ASSERTION_INVALID', (device) => device.assertion({}, { typ: JWT_TYPES.access })],
    ['names an unknown key', 'ASSERTION_INVALID', (device) => device.assertion({}, { kid: 'A'.repeat(43) })],
    ['names a key by a path', 'ASSERTION_INVALID', (device) => device.assertion({}, { kid: '../../etc/passwd' })],
    ['names no key', 'ASSERTION_INVALID', (device) => device.assertion({}, { kid: undefined as unknown as string })],
    ['has no id', 'ASSERTION_INVALID', (device) => device.assertion({ jti: undefined as unknown as string })],
  ])('that %s is refused: %s', async (_, code, make) => {
    const device = await enrolled();
    expect(await device.askForToken(make(device))).toMatchObject({ status: 401, body: { code } });
  });

  test('of two machines with one identity is noticed, but not one whose answer was lost', async () => {
    const device = await enrolled();
    const cloned = async () => (await asOperator((query) => findDevice(query, SHOP_1))).clonedAt;
    const renew = async (renewal: string | undefined) =>
      (await device.askForToken(device.assertion(renewal === undefined ? {} : { renewal }))).body.renewal;
    const first = await renew(undefined);
    await renew(first);
    // The answer to that was lost.
    const second = await renew(first);
    await renew(second);
    expect(await cloned()).toBeNull();
    await renew(first);
    expect(await cloned()).toBeInstanceOf(Date);
  });
});

describe('an access token', () => {
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');
  const parts = (token: string): [header: Record<string, unknown>, claims: Record<string, unknown>] =>
    token.split('.', 2).map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>) as [
      Record<string, unknown>,
      Record<string, unknown>,
    ];

  async function seed(): Promise<Buffer> {
    const [row] = await central.sql<{ seed: Buffer }>('SELECT seed FROM waypost.token_keys ORDER BY id DESC LIMIT 1');
    return (row as { seed: Buffer }).seed;
  }

  /** Signed with central's own key. */
  async function signed(header: object, claims: object): Promise<string> {
    const { privateKeyOf } = await import('../identity/ed25519.js');
    const text = `${encode(header)}.${encode(claims)}`;
    return `${text}.${sign(null, Buffer.from(text), privateKeyOf(await seed())).toString('base64url')}`;
  }

  type Forgery = (header: Record<string, unknown>, claims: Record<string, unknown>, token: string) => Promise<string> | string;
  const s = (): number => Math.floor(Date.now() / 1000);
  test.each<[string, Forgery]>([
    ['has no signature (alg none)', (header, claims) => `${encode({ ...header, alg: 'none' })}.${encode(claims)}.`],
    [
      'is signed by HMAC with the public key',
      async (header, claims) => {
        const { privateKeyOf } = await import('../identity/ed25519.js');
        const text = `${encode({ ...header, alg: 'HS256' })}.${encode(claims)}`;
        return `${text}.${createHmac('sha256', rawPublicKey(privateKeyOf(await seed())))
          .update(text)
          .digest('base64url')}`;
      },
    ],
    [
      'was altered',
      (header, claims, token) =>
        `${encode(header)}.${encode({ ...claims, sub: '01JZ0000000000000000000000' })}.${token.split('.')[2] as string}`,
    ],
    ['has another audience', (header, claims) => signed(header, { ...claims, aud: 'other' })],
    ['has another issuer', (header, claims) => signed(header, { ...claims, iss: 'other' })],
    ['has another type', (header, claims) => signed({ ...header, typ: 'JWT' }, claims)],
    ['has no type', (header, claims) => signed({ ...header, typ: undefined }, claims)],
    ['has expired', (header, claims) => signed(header, { ...claims, exp: s() - 1 })],
    ['never expires', (header, claims) => signed(header, { ...claims, exp: undefined })],
    ['is not valid yet', (header, claims) => signed(header, { ...claims, nbf: s() + 3600 })],
    ['names an unknown key', (header, claims) => signed({ ...header, kid: 'A'.repeat(43) }, claims)],
    ['names its key by a URL', (header, claims) => signed({ ...header, kid: 'http://127.0.0.1/key' }, claims)],
    [
      'brings its own key',
      (header, claims, token) =>
        `${encode({ ...header, kid: undefined, jwk: { kty: 'OKP', crv: 'Ed25519', x: 'A'.repeat(43) } })}.${encode(claims)}.${token.split('.')[2] as string}`,
    ],
    ['has critical headers that nobody knows', (header, claims) => signed({ ...header, crit: ['x'], x: 1 }, claims)],
    ['is for another device’s key', (header, claims) => signed(header, { ...claims, cnf: { jkt: 'A'.repeat(43) } })],
    ['is for no key', (header, claims) => signed(header, { ...claims, cnf: undefined })],
    ['is too long', (header, claims) => signed(header, { ...claims, more: 'x'.repeat(4096) })],
    ['is no JWT', () => 'abc'],
    ['is empty', () => ''],
  ])('that %s is refused with 401 and without a reason', async (_, forge) => {
    const { authorization } = await (await enrolled()).authorization();
    const token = authorization.replace('Bearer ', '');
    expect((await ask({ authorization: `Bearer ${await signed(...parts(token))}` })).status).toBe(200);
    const answer = await ask({ authorization: `Bearer ${await forge(...parts(token), token)}` });
    expect(answer).toMatchObject({ status: 401, body: { code: 'TOKEN_INVALID' } });
    expect(answer.body).not.toHaveProperty('detail');
  });

  test('goes on working with a second central, and after a restart', async () => {
    const headers = await (await enrolled()).authorization();
    await using second = await startOwnCentral({
      server: { createDatabase: () => Promise.resolve({ url: central.databaseUrl }) },
      schema: 'SELECT',
      env: { AUTH: 'device' },
    });
    expect((await second.post(REQUEST, { mac: SHOP_1 }, headers)).status).toBe(200);
  });
});

describe('with AUTH=mac', () => {
  test('a device that has enrolled is reached with its key alone, another one by its MAC', async () => {
    const device = await enrolled();
    await using open = await startOwnCentral({
      server: { createDatabase: () => Promise.resolve({ url: central.databaseUrl }) },
      schema: 'SELECT',
      env: { AUTH: 'mac' },
    });
    expect(await open.post(REQUEST, { mac: SHOP_1 })).toMatchObject({ status: 401, body: { code: 'AUTH_REQUIRED' } });
    expect((await open.post(REQUEST, { mac: SHOP_1 }, await device.authorization())).status).toBe(200);
    expect((await open.post(REQUEST, { mac: SHOP_2 })).status).toBe(200);
  });

  test('a device that waits for approval locks nobody out', async () => {
    await using open = await startOwnCentral({
      server: { createDatabase: () => Promise.resolve({ url: central.databaseUrl }) },
      schema: 'SELECT',
      env: { AUTH: 'mac' },
    });
    await new DeviceClient(central, SHOP_1).enroll(await tokenFor({ uses: 9, needsApproval: true }));
    expect((await open.post(REQUEST, { mac: SHOP_1 })).status).toBe(200);
  });
});
