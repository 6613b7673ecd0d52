import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { jest } from '@jest/globals';
import { chunkStreamPath } from '@waypost/contracts';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { type Central, startCentral } from '../../testing/central.js';
import { SHOP_1, SHOP_1_TWIN, SHOP_2, SHOP_PLAN, SHOP_SCHEMA } from '../../testing/shop.js';
import { runSql } from '../../testing/sql.js';
import { PackStore } from '../chunk-store/pack-store.js';
import { ManifestBuilder } from '../manifests/manifest-builder.js';
import { DownloadLimiter } from './download-limiter.js';

/** No receiver, however slow, keeps others from their manifests. */

const REQUEST = '/api/device-sync/request';
/** More than any buffer between central and a receiver holds, and hardly to be compressed. */
const MUCH = `INSERT INTO accounts SELECT id, 1, (SELECT string_agg(md5(id::text || n), '') FROM generate_series(1, 30) AS n), 1
              FROM generate_series(10001, 30000) AS id`;

let server: TestServer;
let databaseUrl: string;

beforeAll(async () => {
  server = await startTestServer();
  databaseUrl = (await server.createDatabase('shop')).url;
  await runSql(databaseUrl, SHOP_SCHEMA);
  await runSql(databaseUrl, MUCH);
});

afterAll(() => server?.[Symbol.asyncDispose]());

const start = (env: Record<string, string>): Promise<Central> => startCentral({ databaseUrl, plan: SHOP_PLAN, env });

/** Asks, and reads nothing of the answer's body. */
function ask(url: string, body?: object): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const asked = httpRequest(url, { method: body ? 'POST' : 'GET', headers, agent: false }, resolve);
    asked.on('error', reject);
    asked.end(body && JSON.stringify(body));
  });
}

const stalledPayload = (central: Central, mac: string): Promise<IncomingMessage> => ask(central.url + REQUEST, { mac, payload: 'ndjson' });

/** Ends when the other side breaks the answer off; reading it to its end is a failure. */
async function brokenOff(response: IncomingMessage): Promise<void> {
  const whole = await text(response).then(
    () => true,
    () => false,
  );
  expect(whole).toBe(false);
}

test('stalled payloads hold no build slot, not even their own device’s, and end with STALL_TIMEOUT', async () => {
  await using central = await start({
    MAX_CONCURRENT_BUILDS: '1',
    MAX_CONCURRENT_PAYLOADS: '2',
    BUILD_QUEUE_TIMEOUT: '200ms',
    STALL_TIMEOUT: '3s',
  });
  const stalled = await Promise.all([SHOP_1, SHOP_1_TWIN].map((mac) => stalledPayload(central, mac)));
  expect(stalled.map(({ statusCode }) => statusCode)).toEqual([200, 200]);
  for (const mac of [SHOP_1, SHOP_1_TWIN, SHOP_2]) await central.manifestFor(mac);
  expect(await central.post(REQUEST, { mac: SHOP_2, payload: 'json' })).toMatchObject({ status: 503, body: { code: 'CENTRAL_BUSY' } });

  const building = `SELECT FROM pg_stat_activity WHERE application_name = 'waypost-central-build' AND xact_start IS NOT NULL`;
  await until(async () => (await central.sql(building)).length === 0);
  await Promise.all(stalled.map(brokenOff));
  expect((await central.post(REQUEST, { mac: SHOP_2, payload: 'json' })).status).toBe(200);
  expect(await central.sql(`SELECT FROM waypost.sync_requests WHERE reason = 'INTERNAL'`)).toEqual([]);
});

test('a payload that is taken, but too slowly, ends with PAYLOAD_TIMEOUT', async () => {
  await using central = await start({ PAYLOAD_TIMEOUT: '300ms' });
  const response = await stalledPayload(central, SHOP_1);
  await until(async () => (await central.audit(1))[0]?.reason === 'DEADLINE_EXCEEDED');
  await brokenOff(response);
  await central.manifestFor(SHOP_1);
});

test('one device’s requests wait for each other, not for other devices’ slots', async () => {
  await using central = await start({ MAX_CONCURRENT_BUILDS: '2', BUILD_QUEUE_TIMEOUT: '30s' });
  const other = new pg.Client({ connectionString: databaseUrl });
  await other.connect();
  // Another replica answers this device at the moment.
  await other.query("SELECT pg_advisory_lock(hashtextextended('waypost device ' || $1, 0))", [SHOP_1]);
  const waiting = [1, 2, 3, 4].map(() => central.manifestFor(SHOP_1));
  expect((await central.manifestFor(SHOP_2)).device.mac).toBe(SHOP_2);
  await other.end();
  const ids = (await Promise.all(waiting)).map(({ manifestId }) => manifestId);
  expect(new Set(ids).size).toBe(1);
});

test('a device whose own requests with rows wait for each other leaves places for others', async () => {
  await using central = await start({ MAX_CONCURRENT_PAYLOADS: '2', BUILD_QUEUE_TIMEOUT: '5s' });
  const replica = new pg.Client({ connectionString: databaseUrl });
  await replica.connect();
  // Another replica answers this device at the moment.
  await replica.query("SELECT pg_advisory_lock(hashtextextended('waypost device ' || $1, 0))", [SHOP_1]);
  const own = [1, 2].map(() => central.post(REQUEST, { mac: SHOP_1, payload: 'json' }));
  const waiting = `SELECT FROM pg_stat_activity WHERE application_name = 'waypost-central-build' AND wait_event_type = 'Lock'`;
  await until(async () => (await central.sql(waiting)).length > 0);
  expect((await central.post(REQUEST, { mac: SHOP_2, payload: 'json' })).status).toBe(200);
  expect(await central.sql(waiting)).toHaveLength(1);
  await replica.end();
  await Promise.all(own);
});

test('a build that takes longer than BUILD_TIMEOUT is given up, in PostgreSQL too, and the next one works', async () => {
  await using central = await start({ BUILD_TIMEOUT: '3s' });
  const blocker = new pg.Client({ connectionString: databaseUrl });
  await blocker.connect();
  await blocker.query('BEGIN; LOCK TABLE vaults');
  const answer = await central.post(REQUEST, { mac: SHOP_2 });
  expect(answer).toMatchObject({
    status: 503,
    body: { code: 'SNAPSHOT_TOO_SLOW', detail: expect.stringContaining('BUILD_TIMEOUT') as unknown },
  });
  const left = `SELECT FROM pg_stat_activity WHERE application_name = 'waypost-central-build' AND wait_event_type = 'Lock'`;
  await until(async () => (await central.sql(left)).length === 0);
  await blocker.end();
  await central.manifestFor(SHOP_2);
});

test('downloads beyond MAX_DOWNLOADS are told to come again, and can when one has ended', async () => {
  await using central = await start({ MAX_DOWNLOADS: '2', MAX_DOWNLOADS_PER_DEVICE: '2' });
  const manifest = await central.manifestFor(SHOP_1);
  const urlOf = ({ manifestId, device }: typeof manifest) => `${central.url}${chunkStreamPath(manifestId, 'accounts')}?mac=${device.mac}`;
  const slow = [await ask(urlOf(manifest)), await ask(urlOf(manifest))] as const;
  const another = await central.manifestFor(SHOP_2);
  const refused = await central.download(another, 'vaults');
  expect(refused.status).toBe(503);
  expect(refused.headers.get('retry-after')).toMatch(/^\d+$/);
  expect(JSON.parse(refused.body.toString())).toMatchObject({
    code: 'CENTRAL_BUSY',
    hint: expect.stringContaining('MAX_DOWNLOADS') as unknown,
  });
  slow[0].destroy();
  await until(async () => (await central.download(another, 'vaults')).status !== 503);

  // The device whose link broke in a way that central has not noticed gets through, at the cost of what it has lost anyway.
  const begin = async () => {
    let response!: IncomingMessage;
    // The place of a download that is through is free a moment later.
    await until(async () => {
      response = await ask(urlOf(manifest));
      if (response.statusCode === 503) response.destroy();
      return response.statusCode !== 503;
    });
    return response;
  };
  const third = await begin();
  const fourth = await begin();
  await brokenOff(slow[1]);
  expect([third.statusCode, fourth.statusCode]).toEqual([200, 200]);
  third.destroy();
  fourth.destroy();
});

test('a download that finds no place reads nothing from the store, and one with no manifest of its own takes no place', async () => {
  await using central = await start({ MAX_DOWNLOADS: '1', MAX_DOWNLOADS_PER_DEVICE: '1' });
  const [manifest, other] = [await central.manifestFor(SHOP_1), await central.manifestFor(SHOP_2)];
  const slow = await ask(`${central.url}${chunkStreamPath(manifest.manifestId, 'accounts')}?mac=${SHOP_1}`);
  using _connection = { [Symbol.dispose]: () => slow.destroy() }; // central waits for it when it stops
  const store = central.app.get(PackStore);
  const reading = [jest.spyOn(store, 'find'), jest.spyOn(store, 'measureStream')];
  for (const headers of [{}, { range: 'bytes=100-' }]) expect((await central.download(other, 'vaults', headers)).status).toBe(503);
  // With the MAC of the device that is being served: its download goes on.
  expect((await central.download(other, 'vaults', {}, SHOP_1)).status).toBe(403);
  for (const spy of reading) expect(spy).not.toHaveBeenCalled();
  expect(central.app.get(DownloadLimiter).count).toBe(1);
  expect(slow.destroyed).toBe(false);
  slow.destroy();
  await until(async () => (await central.download(other, 'vaults')).status !== 503);
});

test('hundreds of MACs that no device has take no build slot and few rows of the audit, while a device is answered', async () => {
  await using central = await start({ MAX_CONCURRENT_BUILDS: '1', BUILD_QUEUE_TIMEOUT: '100ms' });
  const running = jest.spyOn(central.app.get(ManifestBuilder), 'run');
  const macs = Array.from(
    { length: 400 },
    (_, at) => `02:ff:00:00:${(at >> 8).toString(16).padStart(2, '0')}:${(at & 255).toString(16).padStart(2, '0')}`,
  );
  const flood = macs.map((mac, at) => central.post(REQUEST, { mac, ...(at % 2 ? { payload: 'json' } : {}) }));
  expect((await central.manifestFor(SHOP_2)).device.mac).toBe(SHOP_2);
  const answers = await Promise.all(flood);
  expect(new Set(answers.map(({ status, body }) => `${status} ${body.code}`))).toEqual(new Set(['404 DEVICE_UNKNOWN']));
  expect(running).toHaveBeenCalledTimes(1);
  const [rows] = await central.sql<{ n: number }>(`SELECT count(*)::int AS n FROM waypost.sync_requests WHERE mac LIKE '02:ff:00%'`);
  expect(rows?.n).toBe(120);
  expect(await central.sql(`SELECT FROM waypost.device_states WHERE mac LIKE '02:ff:00%'`)).toEqual([]);
});

test('a device that was registered after it was refused is served in a moment', async () => {
  await using central = await start({});
  const mac = '02:ff:01:00:00:01';
  expect((await central.post(REQUEST, { mac })).status).toBe(404);
  await central.sql('INSERT INTO devices VALUES ($1, 2)', [mac]);
  await until(async () => (await central.post(REQUEST, { mac })).status !== 404);
  expect((await central.manifestFor(mac)).device.mac).toBe(mac);
});

test('a download that is not taken in full by DOWNLOAD_DEADLINE is aborted', async () => {
  await using central = await start({ DOWNLOAD_DEADLINE: '300ms' });
  const { manifestId } = await central.manifestFor(SHOP_1);
  const response = await ask(`${central.url}${chunkStreamPath(manifestId, 'accounts')}?mac=${SHOP_1}`);
  // Only the connection of manifestFor, which is kept alive, is left.
  const countConnections = (): Promise<number> =>
    new Promise((resolve) => central.app.getHttpServer().getConnections((_, count) => resolve(count)));
  await until(async () => (await countConnections()) <= 1);
  await brokenOff(response);
});

test.each([
  ['nonsense', 'NONSENSE\r\n\r\n', 400, 'REQUEST_INVALID'],
  ['a header without end', `GET /healthz HTTP/1.1\r\nx: ${'x'.repeat(100_000)}`, 413, 'REQUEST_TOO_LARGE'],
])('%s in place of HTTP is answered as a problem, and the connection closed', async (_, bytes, status, code) => {
  await using central = await start({});
  const socket = connect(Number(new URL(central.url).port), '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(bytes);
  const answer = await text(socket);
  expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))).toMatchObject({ status, code });
});
