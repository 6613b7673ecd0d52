import { request as httpRequest } from 'node:http';
import { text as textOf } from 'node:stream/consumers';
import { type Ack, fleetName, JWT_TYPES, type Manifest, type Problem, RIGHTS } from '@waypost/contracts';
import { SignJWT } from 'jose';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import type { DeviceClient } from '../../testing/device-client.js';
import { Operators } from '../../testing/operators.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { SHOP_1, SHOP_2 } from '../../testing/shop.js';
import { privateKeyOf, rawPublicKey, thumbprintOf } from '../identity/ed25519.js';
import { mustBeListed, ROUTES } from './routes.js';

/** Every route of the table, with everything that opens it and everything that must not. A route that is added is tried at once. */

const METRICS_TOKEN = 'a-token-for-the-scraper';
const REVOKED = '02:00:00:00:77:01';

let server: TestServer;
let central: OwnCentral;
let operators: Operators;
/** Headers by what they are. */
let credentials: Record<Credential, Record<string, string>>;
let manifest: Manifest;
let device: DeviceClient;

type Credential = 'device' | 'other device' | 'expired' | 'revoked device' | 'wrong token' | KeyCredential | 'METRICS_TOKEN' | 'all rights';
type KeyCredential = 'status' | 'metrics' | 'export' | 'expired key' | 'revoked key' | 'unknown key' | 'altered key' | 'malformed key';

beforeAll(async () => {
  server = await startTestServer();
  central = await startOwnCentral({
    server,
    env: { AUTH: 'device', METRICS_TOKEN, FAILED_ATTEMPTS_LIMIT: 'off', ENROLLMENT_LIMIT: 'off' },
  });
  operators = new Operators(central);
  device = await operators.enrolled(SHOP_1);
  const other = await operators.enrolled(SHOP_2);
  const revoked = await operators.enrolled(REVOKED);
  const own = await device.authorization();
  const revokedHeaders = await revoked.authorization();
  await operators.revokeDevice(revoked);
  const key = async (name: string, ...args: Parameters<Operators['key']> extends [string, ...infer Rest] ? Rest : never) => ({
    'x-api-key': (await operators.key(name, ...args)).secret,
  });
  const withdrawn = await operators.key('withdrawn', RIGHTS);
  await operators.revokeKey(withdrawn.id);
  const status = await key('status', ['status']);
  const secret = status['x-api-key'];
  credentials = {
    device: own,
    'other device': await other.authorization(),
    expired: { authorization: `Bearer ${await expiredToken()}` },
    'revoked device': revokedHeaders,
    'wrong token': { authorization: 'Bearer a.b.c' },
    METRICS_TOKEN: { authorization: `Bearer ${METRICS_TOKEN}` },
    status,
    metrics: await key('metrics', ['metrics']),
    export: await key('export', ['export']),
    'all rights': await key('all', RIGHTS),
    'expired key': await key('expired', RIGHTS, -1),
    'revoked key': { 'x-api-key': withdrawn.secret },
    'unknown key': { 'x-api-key': secret.replace(/_[0-9A-Z]{26}_/, '_01JZ0000000000000000000000_') },
    'altered key': { 'x-api-key': secret.slice(0, -1) + (secret.endsWith('A') ? 'B' : 'A') },
    'malformed key': { 'x-api-key': 'wpk_x' },
  };
  const { body } = await central.post<{ manifest: Manifest }>('/api/device-sync/request', { mac: SHOP_1 }, own);
  manifest = body.manifest;
});
afterAll(async () => {
  await operators?.[Symbol.asyncDispose]();
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

/** As central would have given it an hour ago. */
async function expiredToken(): Promise<string> {
  const [row] = await central.sql<{ seed: Buffer }>('SELECT seed FROM waypost.token_keys');
  const privateKey = privateKeyOf(row!.seed);
  const { deviceId, fleet } = device.enrolled!;
  const nowS = Math.floor(Date.now() / 1000);
  return new SignJWT({ cnf: { jkt: device.thumbprint } })
    .setProtectedHeader({ alg: 'EdDSA', typ: JWT_TYPES.access, kid: thumbprintOf(rawPublicKey(privateKey)) })
    .setIssuer(fleetName(fleet))
    .setAudience(fleetName(fleet))
    .setSubject(deviceId)
    .setIssuedAt(nowS - 3600)
    .setExpirationTime(nowS - 1)
    .sign(privateKey);
}

/** A body that its route accepts from the device. A POST route without one here fails the tests. */
const BODIES: Record<string, () => object | Promise<object>> = {
  'POST /api/device-sync/request': () => ({ mac: SHOP_1 }),
  'POST /api/device-sync/manifests/:manifestId/tables/:table/delta': () => ({ sha256: 'a'.repeat(64), digests: '' }),
  'POST /api/device-sync/ack': (): Ack => ({
    manifestId: manifest.manifestId,
    mac: SHOP_1,
    status: 'Failed',
    localCounts: {},
    localChecksums: {},
    durationMs: 1,
    error: 'LOCK_TIMEOUT: test',
  }),
  'POST /api/auth/token': async () => ({
    grant_type: 'client_credentials',
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: await device.assertion(),
  }),
  'POST /api/devices/enroll': () => ({}),
  'POST /api/ledger/forks': () => ({ seen: 'no note', received: 'another', reason: 'test' }),
};

/** They name no device: each enrolled one gets the same, or what is its own. What is whose is tested with the ledger. */
const OF_ALL_DEVICES = /\/api\/(ledger|device-sync\/trust)\//;
/** Queries of routes that need one. */
const QUERIES: Record<string, string> = {
  'GET /api/ledger/proof/consistency': '?from=0&to=0',
  'GET /api/ledger/proof/inclusion': '?index=0&size=0',
};

interface Route {
  method: string;
  /** With the ids of the device. */
  path: string;
  body: string | undefined;
}

async function routeOf(name: string): Promise<Route> {
  const [method, pattern] = name.split(' ') as [string, string];
  const table = manifest.tables[0]!.name;
  const path = pattern
    .replace(':manifestId', manifest.manifestId)
    .replace(':table', encodeURIComponent(table))
    .replace(':version', '1')
    .replace('*', '0/000');
  const query = pattern.endsWith('/delta') && method === 'GET' ? `?base=${manifest.manifestId}` : (QUERIES[name] ?? '');
  if (method === 'POST' && !BODIES[name]) throw new Error(`${name} has no body in this test`);
  return { method, path: path + query, body: method === 'POST' ? JSON.stringify(await BODIES[name]!()) : undefined };
}

interface Answer {
  status: number;
  code: string | undefined;
  text: string;
}

/** Sends the path as it is: fetch would tidy it up. */
async function send({ method, path, body }: Route, headers: Record<string, string> = {}): Promise<Answer> {
  const described = body === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) };
  const { hostname, port } = new URL(central.url);
  return new Promise((resolve, reject) => {
    const request = httpRequest({ hostname, port, method, path, headers: { ...described, ...headers } }, (response) => {
      textOf(response).then((text) => {
        const isProblem = response.headers['content-type']?.startsWith('application/problem+json') && text !== '';
        resolve({ status: response.statusCode!, code: isProblem ? (JSON.parse(text) as Problem).code : undefined, text });
      }, reject);
    });
    request.on('error', reject).end(body);
  });
}

const GUARDS = [
  'AUTH_REQUIRED',
  'TOKEN_INVALID',
  'MANIFEST_NOT_YOURS',
  'API_KEY_REQUIRED',
  'API_KEY_INVALID',
  'API_KEY_RIGHT_MISSING',
  'ROUTE_UNKNOWN',
];
const refusal = ({ status, code }: Answer): string => `${status} ${code ?? ''}`;

function expectOpen(answer: Answer): void {
  const isOpen = answer.status !== 401 && !GUARDS.includes(answer.code ?? '');
  if (!isOpen) throw new Error(`central answered ${refusal(answer)}: ${answer.text.slice(0, 300)}`);
}

/** What each credential gets, by who may use the route. */
const DEVICE_REFUSALS: [Credential | 'nothing', string][] = [
  ['nothing', '401 AUTH_REQUIRED'],
  ['wrong token', '401 TOKEN_INVALID'],
  ['expired', '401 TOKEN_INVALID'],
  ['revoked device', '401 TOKEN_INVALID'],
  ['METRICS_TOKEN', '401 TOKEN_INVALID'],
  ['all rights', '401 AUTH_REQUIRED'],
  ['other device', '403 MANIFEST_NOT_YOURS'],
];
const KEY_REFUSALS: [Credential | 'nothing', string][] = [
  ['nothing', '401 API_KEY_REQUIRED'],
  ['device', '401 API_KEY_INVALID'],
  ['wrong token', '401 API_KEY_INVALID'],
  ['unknown key', '401 API_KEY_INVALID'],
  ['altered key', '401 API_KEY_INVALID'],
  ['malformed key', '401 API_KEY_INVALID'],
  ['expired key', '401 API_KEY_INVALID'],
  ['revoked key', '401 API_KEY_INVALID'],
  ['export', '403 API_KEY_RIGHT_MISSING'],
];
const BAD_KEYS = KEY_REFUSALS.filter(([credential, expected]) => credential !== 'nothing' && expected.startsWith('401'));
const headersOf = (credential: Credential | 'nothing') => (credential === 'nothing' ? {} : credentials[credential]);

describe.each(Object.keys(ROUTES))('%s', (name) => {
  const access = ROUTES[name]!;
  const ofDevices = OF_ALL_DEVICES.test(name) ? DEVICE_REFUSALS.filter(([which]) => which !== 'other device') : DEVICE_REFUSALS;
  const refusals = access === 'device' ? ofDevices : typeof access === 'object' ? KEY_REFUSALS : [];
  const isGuarded = refusals.length > 0;

  test('is there, and opens to those that it is for', async () => {
    const [method, url] = name.split(' ') as ['GET', string];
    expect(central.app.getHttpAdapter().getInstance().hasRoute({ method, url })).toBe(true);
    const own: Credential[] = access === 'device' ? ['device'] : typeof access === 'object' ? ['all rights', access.key as Credential] : [];
    for (const credential of own) expectOpen(await send(await routeOf(name), credentials[credential]));
    if (!isGuarded) expectOpen(await send(await routeOf(name)));
  });

  if (isGuarded) {
    test.each(refusals)('with %s is %s', async (credential, expected) => {
      expect(refusal(await send(await routeOf(name), headersOf(credential)))).toBe(expected);
    });
  }

  test('with HEAD is refused as with GET, or is not there', async () => {
    const route = await routeOf(name);
    for (const [credential, expected] of refusals.filter(([which]) => which !== 'other device')) {
      const { status, text } = await send({ ...route, method: 'HEAD', body: undefined }, headersOf(credential));
      expect({ status, text }).toEqual({
        status: route.method === 'GET' || `GET ${name.split(' ')[1]}` in ROUTES ? Number(expected.slice(0, 3)) : 404,
        text: '',
      });
    }
  });

  test('with another method is not there', async () => {
    const { path } = await routeOf(name);
    const pattern = name.split(' ')[1];
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      if (`${method} ${pattern}` in ROUTES) continue;
      for (const headers of [{}, credentials.device, credentials['all rights']])
        expect(`${method} ${refusal(await send({ method, path, body: undefined }, headers))}`).toBe(`${method} 404 ROUTE_UNKNOWN`);
    }
  });

  test('opens by no other spelling of its path', async () => {
    const route = await routeOf(name);
    const encoded = route.path.replace(/^\/(.)/, (_, first: string) => `/%${first.charCodeAt(0).toString(16)}`);
    const [bare, query = ''] = route.path.split('?') as [string, string?];
    const spellings = [
      `/${route.path}`,
      `${bare}/?${query}`,
      `${bare}//?${query}`,
      bare.replace(/(?!^)\//, '//'),
      bare.replace(/(?!^)\//, '%2f'),
      bare.toUpperCase(),
      `/healthz/..${bare}`,
      `/healthz/%2e%2e${bare}`,
      `${bare};x=1`,
      `${bare}%00`,
      `${bare}%20`,
    ].filter((path) => path !== bare && path !== route.path);
    for (const path of spellings) {
      const answer = await send({ ...route, path });
      if (isGuarded) expect(`${path} ${answer.status}`).toMatch(/ (400|401|404)$/);
      else expect(`${path} ${answer.status}`).toMatch(/ (400|404)$/);
    }
    // It names the same route, and is guarded alike.
    if (isGuarded)
      for (const [credential, expected] of refusals)
        expect(refusal(await send({ ...route, path: encoded }, headersOf(credential)))).toBe(expected);
  });

  test('takes the scheme of the header Authorization in any case, and no other scheme', async () => {
    const route = await routeOf(name);
    const token = typeof access === 'object' ? METRICS_TOKEN : credentials.device['authorization']!.replace('Bearer ', '');
    const isForBearers = access === 'device' || (typeof access === 'object' && access.key === 'metrics');
    for (const scheme of ['Bearer', 'BEARER', 'bearer']) {
      const answer = await send(await routeOf(name), { authorization: `${scheme} ${token}` });
      if (isForBearers) expectOpen(answer);
    }
    for (const authorization of [
      `Basic ${token}`,
      token,
      `Bearer${token}`,
      'Bearer',
      '',
      `Bearer ${token} x`,
      `Bearer ${token},${token}`,
    ]) {
      if (isGuarded) expect(`${authorization} ${(await send(route, { authorization })).status}`).toBe(`${authorization} 401`);
    }
  });
});

describe('/health', () => {
  const details = async (headers: Record<string, string> = {}): Promise<object> =>
    (JSON.parse((await send({ method: 'GET', path: '/health', body: undefined }, headers)).text) as { details: object }).details;

  test('tells strangers whether central is ready, and operators why', async () => {
    expect(await details()).toEqual({});
    for (const credential of ['METRICS_TOKEN', 'status'] as const)
      expect(await details(credentials[credential])).toHaveProperty('database');
  });

  test.each([...BAD_KEYS, ['metrics', '403 API_KEY_RIGHT_MISSING'] as [Credential, string]])(
    'with %s is %s',
    async (credential, expected) => {
      expect(refusal(await send({ method: 'GET', path: '/health', body: undefined }, headersOf(credential)))).toBe(expected);
    },
  );
});

test('refusals of operators’ routes are audited', async () => {
  for (const credential of ['revoked key', 'export', 'nothing'] as const)
    await send({ method: 'GET', path: '/api/status', body: undefined }, headersOf(credential));
  const rows = await central.sql(
    "SELECT DISTINCT reason, status, mac FROM waypost.sync_requests WHERE operation = 'operator' ORDER BY reason",
  );
  const refused = { status: 'Refused', mac: null };
  expect(rows).toEqual([
    { reason: 'API_KEY_INVALID', ...refused },
    { reason: 'API_KEY_REQUIRED', ...refused },
    { reason: 'API_KEY_RIGHT_MISSING', ...refused },
  ]);
});

test('central does not start with a route that the table does not have', () => {
  expect(() => mustBeListed({ method: 'GET', url: '/api/new', handler: () => undefined })).toThrow('GET /api/new');
  expect(() => mustBeListed({ method: ['POST', 'PUT'], url: '/api/auth/token' } as never)).toThrow('PUT /api/auth/token');
});
