import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ErrorCode, ERROR_KINDS } from '@waypost/contracts';
import type pg from 'pg';
import { testPool } from './support/test-pool.js';
import { type Fault, HostileProxy, type Operation } from './support/hostile-proxy.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { post, Service } from './support/service.js';
import { query } from './support/sync-pair.js';
import { type TemporaryFolder, temporaryFolder } from './support/temporary-folder.js';

/** Real processes with a network between them that does what networks do, to each operation in turn. */

const OPERATIONS: readonly Operation[] = ['request', 'download', 'ack'];
const MACS: Record<Operation, string> = { request: '02:00:00:00:00:01', download: '02:00:00:00:00:02', ack: '02:00:00:00:00:03' };
const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT id AS device_id FROM devices WHERE mac = :mac
tables:
  - name: items
  - name: notes
`;
const SCHEMA = `
  CREATE TABLE devices (id int PRIMARY KEY, mac macaddr UNIQUE);
  INSERT INTO devices VALUES (1, '${MACS.request}'), (2, '${MACS.download}'), (3, '${MACS.ack}');
  CREATE TABLE items (id int PRIMARY KEY, body text NOT NULL);
  INSERT INTO items SELECT g, md5(g::text) || md5('x' || g) FROM generate_series(1, 4000) AS g;
  CREATE TABLE notes (id int PRIMARY KEY, body text NOT NULL);
  INSERT INTO notes SELECT g, md5(g::text) FROM generate_series(1, 300) AS g;`;
const CHANGE = 'UPDATE items SET body = md5(body) || md5(id || body); UPDATE notes SET body = md5(body)';
const CONTENT = `
  SELECT (SELECT md5(string_agg(i::text, ',' ORDER BY id)) FROM items i) AS items, (SELECT md5(string_agg(n::text, ',' ORDER BY id)) FROM notes n) AS notes`;

interface SyncAnswer {
  status: string | number;
  code?: ErrorCode;
  ack: string;
  downloadedBytes: number;
}

interface Device {
  operation: Operation;
  proxy: HostileProxy;
  edge: Service;
  mirror: pg.Pool;
}

let server: TestServer;
let folder: TemporaryFolder;
let source: pg.Pool;
let central: Service;
const devices: Device[] = [];

beforeAll(async () => {
  server = await startTestServer();
  folder = await temporaryFolder();
  const database = await server.createSide('central');
  source = testPool(database.url, 2);
  await query(database.ownerUrl, SCHEMA);
  const plan = join(folder.path, 'plan.yaml');
  await writeFile(plan, PLAN);
  central = await Service.start('central-api', {
    DATABASE_URL: database.serviceUrl,
    SYNC_PLAN: plan,
    SNAPSHOT_STORE: `file:${join(folder.path, 'snapshots')}`,
    STALL_TIMEOUT: '2s',
  });
  devices.push(...(await Promise.all(OPERATIONS.map(startDevice))));
  for (const { edge } of devices) expect(await sync(edge)).toMatchObject({ status: 'Success', ack: 'sent' });
});

afterAll(async () => {
  for (const { edge, proxy, mirror } of devices) {
    await edge.end('SIGKILL');
    await proxy[Symbol.asyncDispose]();
    await mirror.end();
  }
  await central?.end('SIGKILL');
  await source?.end();
  await server?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

async function startDevice(operation: Operation): Promise<Device> {
  const { url, serviceUrl } = await server.createSide('edge');
  const proxy = await HostileProxy.start(central.url);
  const edge = await Service.start('edge-service', {
    DATABASE_URL: serviceUrl,
    CENTRAL_URL: proxy.url,
    DEVICE_MAC: MACS[operation],
    SYNC_INTERVAL: '0',
    STALL_TIMEOUT: '700ms',
    REQUEST_TIMEOUT: '3s',
    DOWNLOAD_DIR: join(folder.path, operation),
  });
  return { operation, proxy, edge, mirror: testPool(url, 2) };
}

async function sync(edge: Service): Promise<SyncAnswer> {
  return (await post<SyncAnswer>(`${edge.url}/api/sync/now`)).body;
}

const contentOf = async (pool: pg.Pool): Promise<unknown> => (await pool.query(CONTENT)).rows[0];

/** Each manifest that the device applied, with how many successes central has of it. */
async function successes({ operation, mirror }: Device): Promise<number[]> {
  const { rows } = await mirror.query<{ manifest_id: string }>(`SELECT manifest_id FROM waypost.edge_sync_log WHERE status = 'Success'`);
  const counted = await source.query<{ count: number }>(
    `SELECT (SELECT count(*)::int FROM waypost.sync_acknowledgements a WHERE a.manifest_id = m AND a.mac::text = $2 AND result = 'Success')
     FROM unnest($1::text[]) AS m`,
    [rows.map(({ manifest_id }) => manifest_id), MACS[operation]],
  );
  return counted.rows.map(({ count }) => count);
}

const FAULTS: Record<string, Fault> = {
  'a refused connection': { kind: 'refuse' },
  'an answer that never starts': { kind: 'stall', afterBytes: 0 },
  'an answer that stops in its body': { kind: 'stall', afterBytes: 60_000 },
  'an answer of which only the head comes': { kind: 'stall', afterBytes: 150 },
  'a link that is dead and does not say so': { kind: 'halfOpen', afterBytes: 0 },
  'a link that dies in an answer and does not say so': { kind: 'halfOpen', afterBytes: 60_000 },
  'single bytes': { kind: 'drip', everyMs: 20 },
  'an answer that is cut in its head': { kind: 'cut', afterBytes: 30 },
  'an answer that is cut in its body': { kind: 'cut', afterBytes: 60_000 },
  'a request that is delivered twice': { kind: 'duplicate' },
  'a bit that flips in an answer’s head': { kind: 'flip', of: 'answer', at: 10 },
  'a bit that flips in an answer’s body': { kind: 'flip', of: 'answer', at: -3 },
  'a bit that flips in a request’s path': { kind: 'flip', of: 'request', at: 20 },
  'a bit that flips in a request’s body': { kind: 'flip', of: 'request', at: -3 },
};

test.each(Object.keys(FAULTS))('%s: nothing half done, a typed error, and all is well when it is over', async (name) => {
  const fault = FAULTS[name] as Fault;
  const before = await contentOf(source);
  await source.query(CHANGE);
  const after = await contentOf(source);
  await Promise.all(
    devices.map(async (device) => {
      const { operation, proxy, edge, mirror } = device;
      proxy.faults.set(operation, fault);
      const answer = await sync(edge);
      if (operation === 'ack' || answer.code === undefined) expect(answer.status).toBe('Success');
      else expect({ code: answer.code, heals: ERROR_KINDS[answer.code].heals }).not.toMatchObject({ heals: 'bug' });
      expect(await contentOf(mirror)).toEqual(answer.status === 'Success' ? after : before);

      proxy.faults.clear();
      for (let cycle = 0; cycle < 2; cycle += 1) {
        if ((await sync(edge)).code === undefined) break;
        expect(cycle).toBe(0);
      }
      expect(await contentOf(mirror)).toEqual(after);
      if ((await successes(device)).includes(0)) await sync(edge);
      const counts = await successes(device);
      expect([operation, counts]).toEqual([operation, counts.map(() => 1)]);
    }),
  );
});

test('a download that is cut again and again goes on behind the last good chunk, within one cycle', async () => {
  const { proxy, edge, mirror } = devices[1] as Device;
  await source.query(CHANGE);
  proxy.asked.length = 0;
  proxy.faults.set('download', { kind: 'cut', afterBytes: 80_000 });
  expect(await sync(edge)).toMatchObject({ status: 'Success' });
  proxy.faults.clear();
  expect(await contentOf(mirror)).toEqual(await contentOf(source));
  const starts = proxy.asked.flatMap(({ range }) => (range === undefined ? [] : [Number(/\d+/.exec(range))]));
  expect(starts.length).toBeGreaterThan(0);
  expect(starts).toEqual([...new Set(starts)].sort((a, b) => a - b));
});
