import { join } from 'node:path';
import type pg from 'pg';
import { testPool } from './support/test-pool.js';
import type { Manifest } from '@waypost/contracts';
import { fillFleet } from '../scripts/fleet/fill-fleet.js';
import { withClient } from '../scripts/with-client.js';
import { startTestServer, TEST_FLEET, type TestServer } from './support/postgres.js';
import { hashGroupMembers } from './support/hash-in-sql.js';
import { post, Service } from './support/service.js';
import { temporaryFolder } from './support/temporary-folder.js';

/** A story with the real processes and real databases: what an operator sees from the first sync on. */

const MAC = '48:b0:2d:e9:c3:b7';
const PLAN = join(import.meta.dirname, '..', 'plans', 'fleet.yaml');

interface SyncAnswer {
  status: string;
  manifestId: string;
  code?: string;
  hint?: string;
  tables: { name: string; rowCount: number; sha256: string; action: string; downloadedBytes: number; verified: boolean }[];
}

describe('a device and its central', () => {
  let server: TestServer;
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let source: pg.Pool;
  let mirror: pg.Pool;
  let central: Service;
  let edge: Service;
  let centralEnv: Record<string, string>;

  beforeAll(async () => {
    server = await startTestServer();
    folder = await temporaryFolder();
    const [atCentral, atEdge] = [await server.createSide('central'), await server.createSide('edge')];
    await withClient(atCentral.ownerUrl, (client) => fillFleet(client, TEST_FLEET));
    source = testPool(atCentral.url, 2);
    mirror = testPool(atEdge.url, 2);
    for (const pool of [source, mirror]) pool.on('error', () => undefined); // the server ends before the last connection does
    centralEnv = { DATABASE_URL: atCentral.serviceUrl, SYNC_PLAN: PLAN, SNAPSHOT_STORE: `file:${join(folder.path, 'snapshots')}` };
    central = await Service.start('central-api', centralEnv);
    edge = await Service.start('edge-service', {
      DATABASE_URL: atEdge.serviceUrl,
      CENTRAL_URL: central.url,
      DEVICE_MAC: MAC,
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

  const sync = (): Promise<{ status: number; body: SyncAnswer }> => post(`${edge.url}/api/sync/now`);

  async function expectEqualRows(): Promise<void> {
    const { body } = await post<{ manifest: Manifest; payload: Record<string, unknown[]> }>(`${central.url}/api/device-sync/request`, {
      mac: MAC,
      payload: 'json',
    });
    for (const table of body.manifest.tables) {
      const columns = table.columns.map(({ name }) => `"${name}"`).join(', ');
      const order = table.key.map((name) => `"${name}"`).join(', ');
      const { rows } = await mirror.query<{ row: unknown }>(
        `SELECT row_to_json(r) AS row FROM (SELECT ${columns} FROM "${table.name}" ORDER BY ${order}) AS r`,
      );
      expect({ table: table.name, rows: rows.map(({ row }) => row) }).toEqual({ table: table.name, rows: body.payload[table.name] });
    }
  }

  test('the first sync creates, fills and verifies every table', async () => {
    const { status, body } = await sync();
    expect(status).toBe(200);
    expect(body.status).toBe('Success');
    expect(body.tables.every((table) => table.action === 'loaded' && table.verified)).toBe(true);
    expect(body.tables.find((table) => table.name === 'users')?.rowCount).toBeGreaterThan(0);
    await expectEqualRows();
  });

  test("the manifest's hash is what SQL alone computes in both databases", async () => {
    const { rows: issued } = await source.query<{ sha256: string; row_count: string }>(
      "SELECT sha256, row_count FROM waypost.sync_manifests WHERE table_name = 'group_members'",
    );
    const manifest = issued[0];
    expect(await hashGroupMembers(source, MAC)).toEqual({ rows: Number(manifest?.row_count), sha256: manifest?.sha256 });
    expect(await hashGroupMembers(mirror, MAC)).toEqual({ rows: Number(manifest?.row_count), sha256: manifest?.sha256 });
    expect(Number(manifest?.row_count)).toBeGreaterThan(512); // several chunks
  });

  test('both sides audit the sync', async () => {
    const acks = await source.query<{ result: string; error_text: string | null }>(
      'SELECT result, error_text FROM waypost.sync_acknowledgements',
    );
    expect(acks.rows).toEqual([{ result: 'Success', error_text: null }]);
    const log = await mirror.query<{ status: string }>('SELECT status FROM waypost.edge_sync_log');
    expect(log.rows).toEqual([{ status: 'Success' }]);
    const hashes = 'SELECT table_name, sha256 FROM waypost.';
    const onEdge = await mirror.query(`${hashes}edge_sync_tables ORDER BY 1`);
    const onCentral = await source.query(`${hashes}sync_manifests ORDER BY 1`);
    expect(onEdge.rows).toEqual(onCentral.rows);
  });

  test('unchanged data is not downloaded again, and gets the same manifest', async () => {
    const first = await sync();
    const second = await sync();
    expect(second.body.status).toBe('Unchanged');
    expect(second.body.manifestId).toBe(first.body.manifestId);
    expect(second.body.tables.every((table) => table.downloadedBytes === 0)).toBe(true);
  });

  test('one changed row changes one table, and leaves the others untouched', async () => {
    const untouched = 'SELECT xmin::text, id FROM areas ORDER BY id';
    const before = (await mirror.query(untouched)).rows;
    const { rows } = await mirror.query<{ id: string }>('SELECT id FROM users ORDER BY id DESC LIMIT 1');
    await source.query("UPDATE users SET full_name = 'Zoë “Quote” O''Neil\n\\N' WHERE id = $1", [rows[0]?.id]);
    const { body } = await sync();
    expect(body.tables.filter((table) => table.action === 'loaded').map((table) => table.name)).toEqual(['users']);
    expect((await mirror.query(untouched)).rows).toEqual(before);
    await expectEqualRows();
  });

  test('rows that leave the scope leave the device', async () => {
    const { rows } = await mirror.query<{ id: string }>('SELECT id FROM areas ORDER BY id LIMIT 1');
    await source.query('DELETE FROM areas WHERE id = $1', [rows[0]?.id]);
    await sync();
    expect((await mirror.query('SELECT FROM areas WHERE id = $1', [rows[0]?.id])).rowCount).toBe(0);
    await expectEqualRows();
  });

  test('the device’s tables have the secondary indexes of central’s; one that is made later comes without a download', async () => {
    const columns = async (table: string): Promise<string[]> => {
      const { rows } = await mirror.query<{ columns: string }>(
        `SELECT substring(pg_get_indexdef(indexrelid) FROM '\\((.*)\\)') AS columns FROM pg_index
         WHERE indrelid = to_regclass($1) AND NOT indisprimary`,
        [table],
      );
      return rows.map((row) => row.columns).sort();
    };
    expect(await columns('users')).toEqual(['company_id', 'email']);
    await source.query('CREATE INDEX areas_name ON areas (lower(name)) WHERE id > 0');
    const { body } = await sync();
    expect(body.status).toBe('Unchanged');
    expect(body.tables.filter(({ downloadedBytes }) => downloadedBytes > 0)).toEqual([]);
    expect(await columns('areas')).toEqual(['location_id', 'lower(name)) WHERE (id > 0']);
  });

  test('a column that central adds comes without a download; one that it narrows stops the device, and central knows why', async () => {
    await source.query("ALTER TABLE areas ADD COLUMN note text NOT NULL DEFAULT 'none'");
    const added = await sync();
    expect(added.body.status).toBe('Success');
    expect(added.body.tables.filter(({ downloadedBytes }) => downloadedBytes > 0)).toEqual([]);
    await expectEqualRows();
    expect((await mirror.query("SELECT FROM areas WHERE note = 'none' LIMIT 1")).rowCount).toBe(1);

    await source.query('ALTER TABLE areas ALTER COLUMN note TYPE varchar(9)');
    expect(await sync()).toMatchObject({ status: 409, body: { code: 'SCHEMA_MISMATCH' } });
    const statement = 'ALTER TABLE "public"."areas" ALTER COLUMN "note" TYPE character varying(9)';
    const { rows } = await source.query<{ code: string; error: string }>(
      'SELECT last_error_code AS code, last_error AS error FROM waypost.device_status WHERE mac = $1 AND consecutive_failures > 0',
      [MAC],
    );
    expect(rows).toEqual([{ code: 'SCHEMA_MISMATCH', error: expect.stringContaining(`(run ${statement})`) as unknown }]);
    await mirror.query(statement);
    expect((await sync()).status).toBe(200);
    await expectEqualRows();
    await source.query('ALTER TABLE areas DROP COLUMN note');
    expect((await sync()).body.status).toBe('Success');
  });

  test('local drift is found and repaired on demand', async () => {
    await mirror.query("UPDATE companies SET name = 'drifted'");
    const { body } = await post<SyncAnswer>(`${edge.url}/api/sync/now`, { verify: true });
    expect(body.tables.filter((table) => table.action === 'loaded').map((table) => table.name)).toEqual(['companies']);
    await expectEqualRows();
  });

  test('of two syncs at once one runs and one is refused', async () => {
    const answers = await Promise.all([sync(), sync()]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409]);
    expect(answers.find(({ status }) => status === 409)?.body).toMatchObject({ code: 'SYNC_RUNNING', hint: expect.stringMatching(/./) });
  });

  test('with central killed the data stays readable, and the next sync after its return is good, without a restart of the edge', async () => {
    const { port } = central;
    await central.end('SIGKILL');
    const refused = await sync();
    expect(refused.status).toBe(502);
    expect(refused.body).toMatchObject({ code: 'CENTRAL_UNREACHABLE' });
    expect((await mirror.query('SELECT FROM users LIMIT 1')).rowCount).toBe(1);

    central = await Service.start('central-api', { ...centralEnv, PORT: port });
    await source.query("UPDATE areas SET name = name || '!'");
    await untilSuccess();
    await expectEqualRows();
  });

  /** The breaker lets a first request through only after a while. */
  async function untilSuccess(): Promise<void> {
    for (;;) {
      const { status, body } = await sync();
      if (status === 200) return;
      expect(body.code).toBe('CENTRAL_UNREACHABLE');
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  test('SIGTERM ends both services at once and cleanly', async () => {
    expect(await edge.end('SIGTERM')).toBe(0);
    expect(await central.end('SIGTERM')).toBe(0);
  });
});
