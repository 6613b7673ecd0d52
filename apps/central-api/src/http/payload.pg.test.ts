import { readdir, readlink } from 'node:fs/promises';
import { get, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import type { Manifest } from '@waypost/contracts';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { ODD_TABLE, SHOP_1 } from '../../testing/shop.js';

const MAX_CONCURRENT_BUILDS = 2;
type Rows = Record<string, Record<string, unknown>[]>;

let server: TestServer;
let central: OwnCentral;

beforeAll(async () => {
  server = await startTestServer();
  central = await startOwnCentral({ server, env: { MAX_CONCURRENT_BUILDS: String(MAX_CONCURRENT_BUILDS), BUILD_QUEUE_TIMEOUT: '10s' } });
});

afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

/** Asks for a payload; the body is neither read nor decoded. */
function ask(payload: string, encoding?: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', ...(encoding === undefined ? {} : { 'accept-encoding': encoding }) };
    const asked = request(`${central.url}/api/device-sync/request`, { method: 'POST', headers, agent: false }, resolve);
    asked.on('error', reject);
    asked.end(JSON.stringify({ mac: SHOP_1, payload }));
  });
}

async function bytesOf(response: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

async function jsonPayload(): Promise<{ manifest: Manifest; payload: Rows }> {
  return JSON.parse(await text(await ask('json'))) as { manifest: Manifest; payload: Rows };
}

/** The rows of all tables, as PostgreSQL itself makes JSON of them. */
async function expectedRows(): Promise<Rows> {
  const rowsOf = async (query: string) =>
    (await central.sql<{ row: string }>(`SELECT row_to_json(t.*)::text AS row FROM (${query}) AS t`)).map(
      ({ row }) => JSON.parse(row) as Record<string, unknown>,
    );
  return {
    accounts: await rowsOf('SELECT * FROM accounts WHERE shop = 1 ORDER BY id'),
    vaults: await rowsOf('SELECT * FROM vaults WHERE shop = 1'),
    nothing: [],
    [ODD_TABLE]: await rowsOf(`SELECT * FROM ${ODD_TABLE} ORDER BY r COLLATE "C"`),
  };
}

test('json is one document: the manifest, and each table’s rows as PostgreSQL prints them', async () => {
  const { manifest, payload } = await jsonPayload();
  expect(manifest).toEqual(await central.manifestFor(SHOP_1));
  expect(payload).toEqual(await expectedRows());
  expect(Object.keys(payload)).toEqual(manifest.tables.map(({ name }) => name));
  expect(payload[ODD_TABLE]?.map(({ odd }) => odd)).toEqual(['NaN', '-Infinity', 1e-300]);
});

test('big numbers keep all their digits in the text', async () => {
  expect(await text(await ask('json'))).toContain('12345678901234567890.12345678901234567890');
});

test('ndjson is a line for the manifest, one per row, and a last one that says it is whole', async () => {
  const response = await ask('ndjson');
  expect(response.headers['content-type']).toBe('application/x-ndjson; charset=utf-8');
  const body = await text(response);
  expect(body.endsWith('}\n')).toBe(true);
  const [head, ...rest] = body
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const last = rest.pop();
  expect(head).toEqual({ manifest: await central.manifestFor(SHOP_1) });
  const expected = Object.entries(await expectedRows()).flatMap(([table, rows]) => rows.map((row) => ({ table, row })));
  expect(rest).toEqual(expected);
  expect(last).toEqual({ end: true, rows: expected.length });
});

test.each([
  ['zstd', 'gzip, deflate, br, zstd', zstdDecompressSync],
  ['gzip', 'GZIP;q=0.5, br', gunzipSync],
  ['gzip', 'zstd;q=0, gzip', gunzipSync],
  [undefined, 'br', (body: Buffer) => body],
  [undefined, 'identity', (body: Buffer) => body],
])('is sent as %s to a client that accepts %s', async (encoding, accepted, decode) => {
  const response = await ask('json', accepted);
  expect(response.headers['content-encoding']).toBe(encoding);
  expect(response.headers.vary).toBe('accept-encoding');
  const { payload } = JSON.parse(decode(await bytesOf(response)).toString()) as { payload: Rows };
  expect(payload).toEqual(await expectedRows());
});

test('a payload is audited as the request it is', async () => {
  const { manifest } = await jsonPayload();
  expect(await central.audit(1)).toMatchObject([{ mac: SHOP_1, manifest_id: manifest.manifestId, operation: 'request', status: 'Issued' }]);
});

test('rows that move between tables while manifests are asked for are never seen twice, nor missed', async () => {
  let moving = true;
  const mover = (async () => {
    while (moving) {
      await central.sql(`WITH taken AS (UPDATE accounts SET balance = balance - 1 WHERE shop = 1 AND id % 2 = 0 RETURNING 1)
                         UPDATE vaults SET balance = balance + (SELECT count(*) FROM taken) WHERE shop = 1`);
    }
  })();
  const seen = new Set<string>();
  try {
    for (let round = 0; round < 15; round += 1) {
      const { manifest, payload } = await jsonPayload();
      const money = [...(payload['accounts'] ?? []), ...(payload['vaults'] ?? [])].reduce((sum, row) => sum + Number(row['balance']), 0);
      expect(money).toBe(1500 * 100 + 1000);
      seen.add(manifest.manifestId);
    }
  } finally {
    moving = false;
    await mover;
  }
  expect(seen.size).toBeGreaterThan(1);
});

describe('with more data than any buffer holds', () => {
  beforeAll(async () => {
    await central.sql(`INSERT INTO accounts SELECT id, 1, (SELECT string_agg(md5(id::text || n), '') FROM generate_series(1, 30) AS n), 1
                       FROM generate_series(10001, 40000) AS id`);
  });

  test('a client that leaves in the middle of a payload gives its connection back', async () => {
    for (let round = 0; round <= MAX_CONCURRENT_BUILDS; round += 1) {
      const response = await ask(round % 2 === 0 ? 'json' : 'ndjson');
      await new Promise((resolve) => response.once('data', resolve));
      response.destroy();
    }
    expect((await central.manifestFor(SHOP_1)).tables[0]?.rowCount).toBe(31_500);
    expect(await central.sql(`SELECT * FROM waypost.sync_requests WHERE status = 'Failed'`)).toEqual([]);
  });

  test('a client that leaves in the middle of a build gives its connection back', async () => {
    for (let round = 0; round <= MAX_CONCURRENT_BUILDS; round += 1) {
      const asked = request(`${central.url}/api/device-sync/request`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        agent: false,
      });
      asked.on('error', () => undefined);
      asked.end(JSON.stringify({ mac: SHOP_1 }));
      await until(async () => (await copying()) > 0);
      asked.destroy();
      await until(async () => (await copying()) === 0);
    }
    await central.manifestFor(SHOP_1);
    expect(await central.sql(`SELECT * FROM waypost.sync_requests WHERE status = 'Failed'`)).toEqual([]);
  });

  test('a client that leaves in the middle of a download leaves no file open', async () => {
    const { manifestId } = await central.manifestFor(SHOP_1);
    const url = `${central.url}/api/device-sync/manifests/${manifestId}/tables/accounts/chunks?mac=${SHOP_1}`;
    const response = await new Promise<IncomingMessage>((resolve) => get(url, { agent: false }, resolve));
    await new Promise((resolve) => response.once('readable', resolve));
    await until(async () => (await openFrames()).length === 1);
    response.destroy();
    await until(async () => (await openFrames()).length === 0);
  });
});

/** How many builds PostgreSQL copies rows for at this moment. */
async function copying(): Promise<number> {
  const [row] = await central.sql<{ count: number }>(
    `SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'waypost-central-build' AND state = 'active' AND query LIKE 'COPY%'`,
  );
  return row?.count ?? 0;
}

async function openFrames(): Promise<string[]> {
  const files = await Promise.all((await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
  return files.filter((file) => file.startsWith(central.store));
}
