import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MAX_ROW_BYTES } from '@waypost/contracts';
import type pg from 'pg';
import { testPool } from './support/test-pool.js';
import { planOf } from './corpus/any-schema.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { post, Service } from './support/service.js';
import { temporaryFolder } from './support/temporary-folder.js';

/** Of a binary row of two fields, an int4 and another: field count, two lengths, the int4. */
const FRAME_BYTES = 2 + 4 + 4 + 4;
/** Of a line of text: the id's digit, a tab, a line feed. */
const LINE_BYTES = 3;
const TABLES = ['large', 'large_texts'];

let server: TestServer;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let source: pg.Pool;
let mirror: pg.Pool;
let central: Service;
let edge: Service;

beforeAll(async () => {
  server = await startTestServer();
  folder = await temporaryFolder();
  const [atCentral, atEdge] = [await server.createSide('central'), await server.createSide('edge')];
  source = testPool(atCentral.ownerUrl);
  mirror = testPool(atEdge.url);
  for (const pool of [source, mirror]) pool.on('error', () => undefined); // the server ends before the last connection does
  await source.query(`
    CREATE TYPE mood AS ENUM ('good');
    CREATE TABLE large (id int PRIMARY KEY, v bytea); CREATE TABLE large_texts (id int PRIMARY KEY, v text, m mood[]);
    INSERT INTO large VALUES (1, decode(repeat('ab', ${MAX_ROW_BYTES - FRAME_BYTES}), 'hex')), (2, NULL), (3, '\\x00');
    INSERT INTO large_texts VALUES (1, repeat('x', ${MAX_ROW_BYTES - LINE_BYTES - 3}), NULL), (2, '', '{good}')`);
  const plan = join(folder.path, 'plan.yaml');
  await writeFile(plan, planOf(TABLES.map((name) => ({ name }))));
  central = await Service.start('central-api', {
    DATABASE_URL: atCentral.serviceUrl,
    SYNC_PLAN: plan,
    SNAPSHOT_STORE: `file:${join(folder.path, 'snapshots')}`,
  });
  edge = await Service.start('edge-service', {
    DATABASE_URL: atEdge.serviceUrl,
    CENTRAL_URL: central.url,
    DEVICE_MAC: '48:b0:2d:e9:c3:b7',
    SYNC_INTERVAL: '0',
    DOWNLOAD_DIR: join(folder.path, 'downloads'),
  });
});

afterAll(async () => {
  await edge?.end('SIGKILL');
  await central?.end('SIGKILL');
  await source?.end();
  await mirror?.end();
  await server?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

const sync = async () => (await post<{ status: string; code?: string; detail?: string }>(`${edge.url}/api/sync/now`)).body;
const values = async (pool: pg.Pool, table: string) =>
  (await pool.query<object>(`SELECT id, length(v) AS length, md5(v) AS md5 FROM ${table} ORDER BY id`)).rows;

async function expectEqual(): Promise<void> {
  for (const table of TABLES) expect(await values(mirror, table)).toEqual(await values(source, table));
}

test('rows of 64 MiB arrive, in either format', async () => {
  expect(await sync()).toMatchObject({ status: 'Success' });
  await expectEqual();
});

test.each(TABLES)('a byte more in %s is refused with the table’s name, and the device keeps what it has', async (table) => {
  const before = await values(mirror, table);
  const byte = table === 'large' ? "'\\x00'" : "'x'";
  await source.query(`UPDATE ${table} SET v = v || ${byte} WHERE id = 1`);
  const { code, detail } = await sync();
  expect(code).toBe('CENTRAL_REFUSED');
  expect(detail).toMatch(new RegExp(`ROW_TOO_LARGE.*${table}\\b`, 's'));
  expect(await values(mirror, table)).toEqual(before);
  await source.query(`UPDATE ${table} SET v = substr(v, 3) WHERE id = 1`);
  expect(await sync()).toMatchObject({ status: 'Success' });
  await expectEqual();
});
