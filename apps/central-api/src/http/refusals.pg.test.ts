import { request } from 'node:http';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { AMBIGUOUS, INACTIVE, SHOP_1, SHOP_2 } from '../../testing/shop.js';

const REQUEST = '/api/device-sync/request';
const ACK = '/api/device-sync/ack';
const UNKNOWN_ID = '01J9ZK4Q8V5N6M7P8R9S0T1V2W';
const SHA = 'a'.repeat(64);

let server: TestServer;
let central: OwnCentral;

beforeAll(async () => {
  server = await startTestServer();
  central = await startOwnCentral({ server });
  await central.manifestFor(SHOP_2);
});

afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

/** Everything that a refusal must leave as it is: all of Waypost's state but the audit of requests, and what central writes in the background. */
async function state(): Promise<unknown> {
  return central.sql(`
    SELECT (SELECT json_agg(m) FROM waypost.manifests m) AS manifests, (SELECT json_agg(t) FROM waypost.sync_manifests t) AS tables,
           (SELECT json_agg(a) FROM waypost.sync_acknowledgements a) AS acks, (SELECT json_agg(s) FROM waypost.central_state s WHERE key <> 'changes_pruned_before') AS state,
           (SELECT last_value FROM waypost.manifest_sequence)`);
}

const ack = { manifestId: UNKNOWN_ID, mac: SHOP_1, status: 'Success', localCounts: {}, localChecksums: {}, durationMs: 1 };

type Refusal = [
  what: string,
  path: string,
  body: unknown,
  headers: Record<string, string>,
  status: number,
  code: string,
  mac: string | null,
];

test.each<Refusal>([
  ['an unknown device', REQUEST, { mac: '02:ff:ff:ff:ff:ff' }, {}, 404, 'DEVICE_UNKNOWN', '02:ff:ff:ff:ff:ff'],
  ['a device that is not active', REQUEST, { mac: INACTIVE }, {}, 403, 'DEVICE_INACTIVE', INACTIVE],
  ['a device that is there twice', REQUEST, { mac: AMBIGUOUS }, {}, 409, 'DEVICE_AMBIGUOUS', AMBIGUOUS],
  ['an inactive device that wants a payload', REQUEST, { mac: INACTIVE, payload: 'json' }, {}, 403, 'DEVICE_INACTIVE', INACTIVE],
  ['a malformed MAC', REQUEST, { mac: '02:00:00:00:00' }, {}, 400, 'MAC_INVALID', '02:00:00:00:00'],
  ['a MAC that is SQL', REQUEST, { mac: "'; DROP TABLE devices; --" }, {}, 400, 'MAC_INVALID', "'; DROP TABLE devices; --"],
  ['a MAC with a NUL', REQUEST, { mac: 'x\0y' }, {}, 400, 'REQUEST_INVALID', 'xy'],
  ['a MAC with half a surrogate pair', REQUEST, '{"mac": "\\ud83d"}', {}, 400, 'REQUEST_INVALID', '\ufffd'],
  ['a MAC that is a number', REQUEST, { mac: 2 }, {}, 400, 'REQUEST_INVALID', null],
  ['a MAC of a thousand characters', REQUEST, { mac: '0'.repeat(1000) }, {}, 400, 'REQUEST_INVALID', '0'.repeat(64)],
  ['no MAC', REQUEST, {}, {}, 400, 'REQUEST_INVALID', null],
  ['an unknown payload', REQUEST, { mac: SHOP_1, payload: 'csv' }, {}, 400, 'REQUEST_INVALID', SHOP_1],
  ['a body that is a list', REQUEST, [], {}, 400, 'REQUEST_INVALID', null],
  ['a body that is null', REQUEST, 'null', {}, 400, 'REQUEST_INVALID', null],
  ['a body that is not JSON', REQUEST, '{"mac":', {}, 400, 'REQUEST_NOT_JSON', null],
  ['a body that poisons prototypes', REQUEST, `{"mac":"${SHOP_1}","__proto__":{"x":1}}`, {}, 400, 'REQUEST_NOT_JSON', null],
  ['an empty body', REQUEST, '', {}, 400, 'REQUEST_INVALID', null],
  ['plain text', REQUEST, 'mac', { 'content-type': 'text/plain' }, 415, 'MEDIA_TYPE_UNSUPPORTED', null],
  ['a form', REQUEST, 'mac=1', { 'content-type': 'application/x-www-form-urlencoded' }, 415, 'MEDIA_TYPE_UNSUPPORTED', null],
  ['a compressed body', REQUEST, '{}', { 'content-type': 'application/gzip' }, 415, 'MEDIA_TYPE_UNSUPPORTED', null],
  ['a body with Content-Encoding', REQUEST, { mac: SHOP_1 }, { 'content-encoding': 'gzip' }, 415, 'MEDIA_TYPE_UNSUPPORTED', null],
  ['an ack whose digest is malformed', ACK, ack, { 'content-digest': 'sha-256=abc' }, 400, 'REQUEST_INVALID', null],
  ['a body that is too large', REQUEST, { mac: SHOP_1, padding: 'x'.repeat(600 << 10) }, {}, 413, 'REQUEST_TOO_LARGE', null],
  ['an ack for a manifest that is not there', ACK, ack, {}, 404, 'MANIFEST_UNKNOWN', SHOP_1],
  ['an ack with a wrong shape', ACK, { ...ack, localCounts: [] }, {}, 400, 'REQUEST_INVALID', SHOP_1],
  ['an ack with an unknown status', ACK, { ...ack, status: 'Fine' }, {}, 400, 'REQUEST_INVALID', SHOP_1],
  ['an ack with a malformed MAC', ACK, { ...ack, mac: 'me' }, {}, 400, 'MAC_INVALID', 'me'],
  ['an ack whose error holds a NUL', ACK, { ...ack, error: 'a\0b' }, {}, 400, 'REQUEST_INVALID', SHOP_1],
  ['an ack whose table names hold half a surrogate', ACK, { ...ack, localCounts: { '\ud800': 1 } }, {}, 400, 'REQUEST_INVALID', SHOP_1],
  ['an ack with __proto__ for a table', ACK, JSON.stringify(ack).replace('{}', `{"__proto__":1}`), {}, 400, 'REQUEST_NOT_JSON', null],
  ['an ack that was altered on its way', ACK, ack, { 'content-digest': `sha-256=:${'A'.repeat(43)}=:` }, 400, 'REQUEST_CORRUPT', null],
  ['an ack with an upper-case hash', ACK, { ...ack, localChecksums: { a: SHA.toUpperCase() } }, {}, 400, 'REQUEST_INVALID', SHOP_1],
])('%s is refused, audited, and changes nothing', async (_, path, body, headers, status, code, mac) => {
  const before = await state();
  const answer = await central.post(path, body, headers);
  expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(answer).toMatchObject({
    status,
    body: { status, code, hint: expect.stringMatching(/\w/), requestId: expect.stringMatching(/^\w{26}$/) },
  });
  expect(await central.audit(1)).toEqual([
    {
      mac,
      manifest_id: path === ACK && code === 'MANIFEST_UNKNOWN' ? UNKNOWN_ID : path === ACK && code === 'MAC_INVALID' ? UNKNOWN_ID : null,
      operation: path === ACK ? 'ack' : 'request',
      status: 'Refused',
      reason: code,
      duration_ms: expect.any(Number),
    },
  ]);
  expect(await state()).toEqual(before);
});

describe('another device’s manifest', () => {
  const notYours = { status: 403, body: { code: 'MANIFEST_NOT_YOURS', hint: expect.any(String) } };

  test('cannot be downloaded', async () => {
    const manifest = await central.manifestFor(SHOP_1);
    const answer = await central.download(manifest, 'accounts', {}, SHOP_2);
    expect({ ...answer, body: JSON.parse(answer.body.toString()) as unknown }).toMatchObject(notYours);
    expect(await central.audit(1)).toMatchObject([
      { mac: SHOP_2, manifest_id: manifest.manifestId, operation: 'download', status: 'Refused', reason: 'MANIFEST_NOT_YOURS' },
    ]);
  });

  test('cannot be acknowledged', async () => {
    const { manifestId } = await central.manifestFor(SHOP_1);
    const before = await state();
    expect(await central.post(ACK, { ...ack, manifestId, mac: SHOP_2 })).toMatchObject(notYours);
    expect(await state()).toEqual(before);
    expect(await central.audit(1)).toMatchObject([
      { mac: SHOP_2, manifest_id: manifestId, operation: 'ack', reason: 'MANIFEST_NOT_YOURS' },
    ]);
  });
});

test.each([
  [`/api/device-sync/manifests/${UNKNOWN_ID}/tables/accounts/chunks?mac=${SHOP_1}`, 404, 'MANIFEST_UNKNOWN', UNKNOWN_ID],
  [`/api/device-sync/manifests/nonsense/tables/accounts/chunks?mac=${SHOP_1}`, 404, 'MANIFEST_UNKNOWN', null],
  [`/api/device-sync/manifests/%00/tables/accounts/chunks?mac=${SHOP_1}`, 404, 'MANIFEST_UNKNOWN', null],
  [`/api/device-sync/manifests/${UNKNOWN_ID}/tables/accounts/chunks`, 400, 'MAC_INVALID', UNKNOWN_ID],
  [`/api/device-sync/manifests/${UNKNOWN_ID}/tables/accounts/chunks?mac=a&mac=b`, 400, 'MAC_INVALID', UNKNOWN_ID],
])('GET %s is refused and audited', async (path, status, code, manifestId) => {
  const response = await fetch(central.url + path);
  expect(response.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(await response.json()).toMatchObject({ status, code });
  expect(await central.audit(1)).toMatchObject([{ operation: 'download', status: 'Refused', reason: code, manifest_id: manifestId }]);
});

test.each([
  ['GET', '/api/device-sync/request', 404, 'ROUTE_UNKNOWN'],
  ['PUT', '/api/device-sync/ack', 404, 'ROUTE_UNKNOWN'],
  ['GET', '/', 404, 'ROUTE_UNKNOWN'],
  ['GET', `/api/device-sync/manifests/%zz/tables/a/chunks`, 400, 'REQUEST_INVALID'],
])('%s %s is a problem document', async (method, path, status, code) => {
  const response = await fetch(central.url + path, { method });
  expect(response.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect({ status: response.status, body: await response.json() }).toMatchObject({ status, body: { status, code } });
});

test('unknown members are ignored, however deep they are', async () => {
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  expect(await central.post(REQUEST, `{"mac":"02:ff:ff:ff:ff:ff","deep":${deep}}`)).toMatchObject({
    status: 404,
    body: { code: 'DEVICE_UNKNOWN' },
  });
  expect(await central.post(REQUEST, `{"mac":${deep}}`)).toMatchObject({ status: 400, body: { code: 'REQUEST_INVALID' } });
});

test('a client that goes away while it sends its body is no failure of central', async () => {
  const headers = { 'content-type': 'application/json', 'content-length': '1000' };
  const broken = request(central.url + REQUEST, { method: 'POST', headers });
  const closed = new Promise((resolve) => broken.once('close', resolve));
  broken.on('error', () => undefined);
  await new Promise((resolve) => broken.write('{"mac":', resolve));
  broken.destroy();
  await closed;
  expect((await central.post(REQUEST, { mac: INACTIVE })).status).toBe(403);
  expect(await central.sql(`SELECT * FROM waypost.sync_requests WHERE status = 'Failed'`)).toEqual([]);
});
