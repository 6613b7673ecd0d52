import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { Operators } from '../../testing/operators.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { SHOP_1 } from '../../testing/shop.js';

const METRICS_TOKEN = 'a-token-for-the-scraper';

let server: TestServer;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

const start = (env: Record<string, string> = {}): Promise<OwnCentral> => startOwnCentral({ server, env: { AUTH: 'device', ...env } });

async function get(url: string, headers: Record<string, string> = {}): Promise<{ status: number; text: string }> {
  const response = await fetch(url, { headers });
  return { status: response.status, text: await response.text() };
}

describe('an API key', () => {
  test('opens what its rights name, and tells when it was used', async () => {
    await using central = await start({ METRICS_TOKEN });
    await using operators = new Operators(central);
    const { id, secret } = await operators.key('console', ['status']);
    const lastUse = async () => (await central.sql<{ at: Date | null }>('SELECT last_used_at AS at FROM waypost.api_keys'))[0]!.at;
    expect(await lastUse()).toBeNull();
    const { status, text } = await get(`${central.url}/api/status`, { 'x-api-key': secret });
    expect(status).toBe(200);
    expect(JSON.parse(text)).toMatchObject({
      side: 'central',
      ok: true,
      devices: { fresh: 0, never: 0 },
      clonedDevices: 0,
      findings: [{ severity: 'warn' }],
    });
    await until(async () => (await lastUse()) !== null);
    const first = await lastUse();
    await get(`${central.url}/api/status`, { 'x-api-key': secret });
    expect(await lastUse()).toEqual(first);
    await central.sql("UPDATE waypost.api_keys SET last_used_at = now() - interval '2 min'");
    await get(`${central.url}/api/status`, { 'x-api-key': secret });
    await until(async () => (await lastUse())!.getTime() >= first!.getTime());
    await operators.revokeKey(id);
    expect((await get(`${central.url}/api/status`, { 'x-api-key': secret })).status).toBe(401);
  });

  test('is stored as a hash alone', async () => {
    await using central = await start();
    await using operators = new Operators(central);
    const { secret } = await operators.key('console', ['status']);
    const [row] = await central.sql<{ stored: string }>('SELECT k::text AS stored FROM waypost.api_keys k');
    expect(row!.stored).not.toContain(secret.slice(-43));
    expect(row!.stored).toMatch(/[0-9a-f]{64}/);
  });

  test('that is guessed at is refused for a while, and one that was good lately is not', async () => {
    await using central = await start({ METRICS_TOKEN, FAILED_ATTEMPTS_LIMIT: '3' });
    await using operators = new Operators(central);
    const [known, fresh] = [await operators.key('known', ['metrics']), await operators.key('fresh', ['metrics'])];
    const scrape = async (headers: Record<string, string>) => (await get(`${central.url}/metrics`, headers)).status;
    expect(await scrape({ 'x-api-key': known.secret })).toBe(200);
    for (const guess of ['wpk_x', 'wpk_y']) expect(await scrape({ 'x-api-key': guess })).toBe(401);
    expect(await scrape({ authorization: 'Bearer guess' })).toBe(401);
    expect(await scrape({ authorization: 'Bearer guess' })).toBe(429);
    expect(await scrape({})).toBe(429);
    expect(await scrape({ 'x-api-key': fresh.secret })).toBe(429);
    expect(await scrape({ 'x-api-key': known.secret })).toBe(200);
    expect(await scrape({ authorization: `Bearer ${METRICS_TOKEN}` })).toBe(200);
    expect((await central.post('/api/device-sync/request', { mac: SHOP_1 })).status).toBe(401);
  });
});

describe('what is public', () => {
  test('by default are numbers and the reasons of /health, but not the fleet’s state', async () => {
    await using central = await start();
    expect((await get(`${central.url}/metrics`)).text).toContain('waypost_central_requests_total');
    expect((await get(`${central.url}/health`)).text).toContain('"database"');
    expect((await get(`${central.url}/api/status`)).status).toBe(401);
  });

  test('with METRICS_TOKEN is neither', async () => {
    await using central = await start({ METRICS_TOKEN });
    expect((await get(`${central.url}/metrics`)).status).toBe(401);
    expect(await get(`${central.url}/health`)).toEqual({ status: 200, text: '{"status":"ok","details":{}}' });
    await central.sql('ALTER TABLE waypost.central_migrations RENAME TO away');
    expect(await get(`${central.url}/health`)).toEqual({ status: 503, text: '{"status":"error","details":{}}' });
    expect((await get(`${central.url}/health`, { authorization: `Bearer ${METRICS_TOKEN}` })).text).toContain('"migrations":{');
  });

  test('with ADMIN_PORT is what devices need, and operators have an address of their own', async () => {
    await using central = await start({ ADMIN_PORT: '0' });
    await using operators = new Operators(central);
    const { secret } = await operators.key('console', ['status', 'metrics']);
    const key = { 'x-api-key': secret };
    const statusOf = async (path: string, at: string, headers = {}) => (await get(at + path, headers)).status;
    for (const path of ['/metrics', '/api/status']) expect(await statusOf(path, central.url, key)).toBe(404);
    expect(await get(`${central.url}/health`)).toEqual({ status: 200, text: '{"status":"ok","details":{}}' });
    expect((await central.post('/api/device-sync/request', { mac: SHOP_1 })).body.code).toBe('AUTH_REQUIRED');

    const admin = central.adminUrl!;
    expect(admin).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(await statusOf('/metrics', admin)).toBe(200);
    expect(await statusOf('/api/status', admin)).toBe(401);
    expect(await statusOf('/api/status', admin, key)).toBe(200);
    expect((await get(`${admin}/health`)).text).toContain('"database"');
    for (const at of [admin, central.url]) expect(await statusOf('/healthz', at)).toBe(200);
    const device = await operators.enrolled(SHOP_1);
    const asked = await fetch(`${admin}/api/device-sync/request`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(await device.authorization()) },
      body: JSON.stringify({ mac: SHOP_1 }),
    });
    expect(asked.status).toBe(404);
    expect((await fetch(`${admin}/api/auth/token`, { method: 'POST' })).status).toBe(404);
  });

  test('at the operators’ own address needs METRICS_TOKEN, too, where it is set', async () => {
    await using central = await start({ ADMIN_PORT: '0', METRICS_TOKEN });
    expect((await get(`${central.adminUrl}/metrics`)).status).toBe(401);
    expect((await get(`${central.adminUrl}/metrics`, { authorization: `Bearer ${METRICS_TOKEN}` })).status).toBe(200);
  });

  test('a port of operators that is taken is named', async () => {
    await using central = await start({ ADMIN_PORT: '0' });
    await expect(start({ ADMIN_PORT: new URL(central.adminUrl!).port })).rejects.toMatchObject({ code: 'PORT_IN_USE' });
  });
});
