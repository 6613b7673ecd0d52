import { statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { Writable } from 'node:stream';
import pino from 'pino';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { Edge, queryAt } from '../../testing/edge.js';
import { FakeCentral, TEST_MAC } from '../../testing/fake-central.js';
import { CREATE_SHOP, SHOP_TABLES } from '../../testing/small-shop.js';
import { readEdgeConfig } from '../config.js';
import { createEdgeApp } from '../http-app.js';

interface Health {
  status: string;
  details: Record<string, { status: string; code?: string; message?: string; hint?: string }>;
}

let server: TestServer;
let central: FakeCentral;
let databaseUrl: string;

beforeAll(async () => {
  server = await startTestServer();
  const source = (await server.createDatabase('source')).url;
  await queryAt(source, CREATE_SHOP);
  central = await FakeCentral.start(source, SHOP_TABLES);
});
beforeEach(async () => {
  central.heal();
  databaseUrl = (await server.createDatabase('edge')).url;
});
afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

const start = (env: Record<string, string> = {}, url = databaseUrl): Promise<Edge> =>
  Edge.start({ databaseUrl: url, centralUrl: central.url, env });

async function ask<Body>(edge: Edge, path: string): Promise<{ http: number; headers: Headers; body: Body }> {
  const response = await fetch(edge.url + path);
  return { http: response.status, headers: response.headers, body: (await response.json()) as Body };
}

async function healthOf(edge: Edge): Promise<{ http: number; lines: Record<string, string>; body: Health }> {
  const { http, body } = await ask<Health>(edge, '/health');
  return { http, body, lines: Object.fromEntries(Object.entries(body.details).map(([line, { status }]) => [line, status])) };
}

const isMigrated = async (edge: Edge): Promise<boolean> => (await healthOf(edge)).lines['migrations'] === 'up';
const ALL_UP = { database: 'up', migrations: 'up', disk: 'up', sync: 'up', central: 'up', trust: 'up', ledger: 'up' };

test('readers may start when the first verified load is committed, and after every restart since', async () => {
  await using edge = await start();
  await until(() => isMigrated(edge));
  const waiting = await ask(edge, '/health/data');
  expect(waiting).toMatchObject({ http: 503, body: { code: 'DATA_NOT_READY', status: 503 } });
  expect(waiting.headers.get('content-type')).toContain('application/problem+json');
  expect(waiting.headers.get('retry-after')).toBe('2');

  central.refusals.set('/chunks', 'MANIFEST_EXPIRED');
  expect((await edge.sync()).httpStatus).not.toBe(200);
  expect((await ask(edge, '/health/data')).http).toBe(503);

  central.heal();
  const { manifestId } = await edge.sync();
  const { http, body } = await ask<{ verifiedAgeSeconds: number }>(edge, '/health/data');
  expect({ http, body }).toMatchObject({ http: 200, body: { status: 'ready', manifestId, epoch: 'epoch-1', sequence: 1 } });
  expect(body.verifiedAgeSeconds).toBeGreaterThanOrEqual(0);

  central.refusals.set('/request', 'drop');
  await edge.restart();
  await until(() => isMigrated(edge));
  expect(await ask(edge, '/health/data')).toMatchObject({ http: 200, body: { manifestId, sequence: 1 } });
});

test('a probe that comes before the database and its migrations is told so', async () => {
  const late = new URL(databaseUrl);
  late.pathname = `/late_${Date.now()}`;
  await using edge = await start({}, late.href);
  const { http, lines, body } = await healthOf(edge);
  expect({ http, lines }).toEqual({ http: 503, lines: { ...ALL_UP, database: 'down', migrations: 'down' } });
  expect(body.details['migrations']?.message).toContain('Migrations');
  expect(body.details['database']).toMatchObject({ code: 'DATABASE_UNAVAILABLE', hint: expect.any(String), state: '3D000' });
  expect(await ask(edge, '/health/data')).toMatchObject({ http: 503, body: { code: 'DATABASE_UNAVAILABLE' } });
  expect((await fetch(`${edge.url}/healthz`)).status).toBe(200);
  expect((await fetch(`${edge.url}/metrics`)).status).toBe(200);

  await queryAt(databaseUrl, `CREATE DATABASE ${late.pathname.slice(1)}`);
  await until(async () => (await healthOf(edge)).http === 200);
  expect((await healthOf(edge)).lines).toEqual(ALL_UP);
});

test('a database that was replaced by an older one lacks migrations, and is not healthy', async () => {
  await using edge = await start();
  await until(() => isMigrated(edge));
  await edge.query(`DELETE FROM waypost.edge_migrations WHERE id = (SELECT max(id) FROM waypost.edge_migrations)`);
  expect(await healthOf(edge)).toMatchObject({ http: 503, body: { details: { migrations: { status: 'down', missing: 1 } } } });
  await edge.query('DROP SCHEMA waypost CASCADE');
  expect((await healthOf(edge)).lines).toEqual({ ...ALL_UP, migrations: 'down' });
});

test('a disk is degraded when little is left, and down when it is full or cannot be written', async () => {
  const { bavail, bsize } = await statfs(tmpdir());
  const kib = (bavail * bsize) / 1024;
  const diskOf = async (env: Record<string, string>) => {
    await using edge = await start(env);
    await until(() => isMigrated(edge));
    const { http, body } = await healthOf(edge);
    return { http, ...body.details['disk'] };
  };
  expect(await diskOf({ MIN_FREE_DISK: `${Math.round(kib / 5)}KiB` })).toMatchObject({ http: 200, status: 'degraded' });
  expect(await diskOf({ MIN_FREE_DISK: `${Math.round(kib * 2)}KiB` })).toMatchObject({ http: 503, status: 'down' });
  expect(await diskOf({ DOWNLOAD_DIR: '/dev/null/downloads' })).toMatchObject({
    http: 503,
    status: 'down',
    code: 'STORAGE_FAILED',
    state: 'ENOTDIR',
  });
});

test('probes and scrapes tell nothing that helps to break in, and leave no line in the log', async () => {
  const lines: string[] = [];
  const stream = new Writable({ write: (line, _encoding, done) => (lines.push(String(line)), done()) });
  const config = readEdgeConfig({
    DATABASE_URL: 'postgres://secret-user:secret-word@127.0.0.1:1/secret-name',
    CENTRAL_URL: 'http://127.0.0.1:9/secret-path',
    DEVICE_MAC: TEST_MAC,
    SYNC_INTERVAL: '0',
    DOWNLOAD_DIR: '/dev/null/secret-folder',
  });
  const app = await createEdgeApp(config, pino({ level: 'info' }, stream));
  try {
    await app.listen(0, '127.0.0.1');
    const url = await app.getUrl();
    const logged = (): number => lines.filter((line) => !line.includes('database not ready')).length;
    const before = logged();
    for (const path of ['/health', '/health/data', '/healthz', '/metrics']) {
      const text = await (await fetch(url + path)).text();
      expect(text).not.toContain('secret');
      expect(text.length).toBeGreaterThan(10);
    }
    expect(logged()).toBe(before);
  } finally {
    await app.close();
  }
});
