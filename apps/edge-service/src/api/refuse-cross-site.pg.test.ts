import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { json } from 'node:stream/consumers';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { Edge } from '../../testing/edge.js';

let server: TestServer;
let edge: Edge;

beforeAll(async () => {
  server = await startTestServer();
  edge = await Edge.start({ databaseUrl: (await server.createDatabase('edge')).url, centralUrl: 'http://127.0.0.1:1' });
  await until(
    async () => (await edge.query(`SELECT FROM pg_tables WHERE schemaname = 'waypost' AND tablename = 'edge_scrubs'`)).length > 0,
  );
});
afterAll(async () => {
  await edge?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});
beforeEach(() => edge.query('DELETE FROM waypost.edge_sync_log; DELETE FROM waypost.edge_scrubs'));

/** As curl and other programs send it: with these headers, and none of a browser. */
async function send(path: string, headers: Record<string, string>, method = 'POST'): Promise<{ status: number; body: { code?: string } }> {
  const sent = request(edge.url + path, { method, headers }).end();
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  return { status: answer.statusCode as number, body: (await json(answer)) as { code?: string } };
}

const started = async (): Promise<number> =>
  (
    await edge.query<{ n: number }>(
      'SELECT (SELECT count(*) FROM waypost.edge_sync_log)::int + (SELECT count(*) FROM waypost.edge_scrubs)::int AS n',
    )
  )[0]!.n;
const host = (): string => new URL(edge.url).host;

test.each<[string, () => Record<string, string>]>([
  ['of another site', () => ({ 'sec-fetch-site': 'cross-site', origin: 'https://site.example' })],
  ['of another port of this machine', () => ({ 'sec-fetch-site': 'same-site', origin: 'http://127.0.0.1:1' })],
  ['in a browser that names the origin alone', () => ({ origin: 'https://site.example' })],
  ['that hides its origin', () => ({ origin: 'null' })],
])('a page %s starts nothing', async (_, headers) => {
  for (const path of ['/api/sync/now', '/api/sync/scrub']) {
    const { status, body } = await send(path, headers());
    expect({ status, body }).toMatchObject({
      status: 403,
      body: { code: 'REQUEST_CROSS_SITE', hint: expect.stringContaining('curl -X POST') as string },
    });
  }
  expect(await started()).toBe(0);
});

test.each<[string, () => Record<string, string>]>([
  ['a program', () => ({})],
  ['a page of the edge’s own address', () => ({ 'sec-fetch-site': 'same-origin', origin: `http://${host()}` })],
  ['the same in an older browser', () => ({ origin: `http://${host()}` })],
])('%s starts a cycle', async (_, headers) => {
  expect((await send('/api/sync/now', headers())).body.code).toBe('CENTRAL_UNREACHABLE');
  expect(await started()).toBe(1);
});

test('what starts nothing is answered, wherever it comes from', async () => {
  expect((await send('/api/sync/status', { 'sec-fetch-site': 'cross-site' }, 'GET')).status).toBe(200);
});
