import { jest } from '@jest/globals';
import { fillCentralAudit } from '../../../../scripts/audit/fill-central-audit.js';
import { withClient } from '../../../../scripts/with-client.js';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type Central, startCentral } from '../../testing/central.js';
import { SHOP_1, SHOP_PLAN, SHOP_SCHEMA } from '../../testing/shop.js';
import { runSql } from '../../testing/sql.js';
import { dataSourceOptions, openDataSource } from '../database/database.module.js';
import { AuditSweeper } from './audit-sweeper.js';

jest.setTimeout(180_000);
const SIZE = { devices: 12, days: 6, requests: 9_000, manifestsPerDeviceAndDay: 4 };

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

/** A database with six days of audit that were not swept yet. */
async function filled(): Promise<string> {
  const { url } = await server.createDatabase('audit');
  await runSql(url, SHOP_SCHEMA);
  await (await openDataSource(dataSourceOptions(url))).destroy();
  await withClient(url, (client) => fillCentralAudit(client, SIZE));
  return url;
}

const start = (databaseUrl: string, retention: string) =>
  startCentral({ databaseUrl, plan: SHOP_PLAN, env: { AUDIT_RETENTION: retention } });

/** Until nothing is left to do: other processes may be at it. */
async function sweepAll(centrals: Central[]): Promise<void> {
  for (let rest = 1; rest > 0;) {
    const results = await Promise.all(centrals.map((central) => central.app.get(AuditSweeper).sweep()));
    rest = results.flatMap((result) => Object.values(result) as number[]).reduce((sum, count) => sum + count, 0);
    const [mark] = await centrals[0]!.sql<{ open: boolean }>(
      `SELECT counted_until < date_trunc('hour', now() - interval '51 min', 'UTC') AS open FROM waypost.hourly_state`,
    );
    if (mark!.open) rest = 1;
  }
}

const HOURLY = {
  requests: [
    'SELECT hour, operation, status, reason, requests, devices, mean_duration_ms, max_duration_ms FROM waypost.requests_by_hour ORDER BY 1, 2, 3, 4',
  ],
  acks: ['SELECT * FROM waypost.acks_by_hour ORDER BY 1, 2, 3'],
  tables: ['SELECT * FROM waypost.table_changes_by_hour ORDER BY 1, 2'],
  rates: ['SELECT * FROM waypost.success_rates ORDER BY 1'],
  reasons: ['SELECT * FROM waypost.failures_by_reason ORDER BY 1, 2, 3'],
};

async function hourly(url: string): Promise<Record<string, unknown[]>> {
  const result: Record<string, unknown[]> = {};
  for (const [name, [text]] of Object.entries(HOURLY)) result[name] = await runSql(url, text as string);
  return result;
}

test('views say the same before hours are counted, after, and when what they were counted from is gone; with several processes', async () => {
  const url = await filled();
  const before = await hourly(url);
  for (const rows of Object.values(before)) expect(rows.length).toBeGreaterThan(20);
  const centrals = await Promise.all([start(url, '0'), start(url, '0'), start(url, '0')]);
  await sweepAll(centrals);
  expect(await hourly(url)).toEqual(before);
  expect(await runSql(url, 'SELECT count(*)::int AS n FROM waypost.sync_requests')).toEqual([{ n: SIZE.requests }]);
  for (const central of centrals) await central[Symbol.asyncDispose]();

  await using pruning = await start(url, '1d');
  await sweepAll([pruning]);
  expect(await hourly(url)).toEqual(before);
  const [left] = await runSql<{ n: number; oldest: boolean }>(
    url,
    `SELECT count(*)::int AS n, min(requested_at) >= now() - interval '25 h' AS oldest FROM waypost.sync_requests`,
  );
  expect(left).toEqual({ n: expect.any(Number), oldest: true });
  expect(left!.n).toBeLessThan(SIZE.requests / 4);
});

test('pruning leaves each device its last manifest, the one it proved last with its success, and all that can be downloaded', async () => {
  const url = await filled();
  const mac = '02:00:00:00:00:05';
  const silent = '02:00:00:00:00:06';
  // One device proved an old manifest last; the other fell silent days ago.
  await runSql(
    url,
    `UPDATE waypost.device_states SET verified_manifest_id = (
       SELECT manifest_id FROM waypost.sync_acknowledgements WHERE mac = '${mac}' AND result = 'Success' ORDER BY completed_at LIMIT 1) WHERE mac = '${mac}';
     INSERT INTO waypost.drift_reports (mac, manifest_id, table_name, chunks, first_key, found_at, reported_at)
       SELECT '${mac}', 'M', 'users', 1, days, now(), now() - days * interval '1 day' FROM generate_series(0, 5) AS days;
     DELETE FROM waypost.manifests WHERE mac = '${silent}' AND generated_at > now() - interval '3 days';
     UPDATE waypost.device_states SET last_manifest_id = (
       SELECT manifest_id FROM waypost.manifests WHERE mac = '${silent}' ORDER BY sequence DESC LIMIT 1) WHERE mac = '${silent}';
     UPDATE waypost.manifests SET expires_at = now() + interval '1 h' WHERE manifest_id = '01JAUDIT' || lpad('4', 18, '0');`,
  );
  await using central = await start(url, '2d');
  await sweepAll([central]);
  const old = await runSql(
    url,
    `SELECT mac, (SELECT count(*)::int FROM waypost.sync_acknowledgements a WHERE a.manifest_id = m.manifest_id AND result = 'Success') AS successes,
            (SELECT count(*)::int FROM waypost.sync_manifests t WHERE t.manifest_id = m.manifest_id) AS tables
     FROM waypost.manifests m WHERE generated_at < now() - interval '51 h' ORDER BY mac`,
  );
  expect(old).toEqual([
    { mac: '02:00:00:00:00:04', successes: 1, tables: 7 },
    { mac, successes: 1, tables: 7 },
    { mac: silent, successes: 1, tables: 7 },
  ]);
  expect(await runSql(url, `SELECT FROM waypost.sync_acknowledgements WHERE completed_at < now() - interval '51 h'`)).toHaveLength(3);
  expect(await runSql(url, 'SELECT FROM waypost.device_status')).toHaveLength(SIZE.devices);
  expect(await runSql(url, 'SELECT first_key FROM waypost.drift_reports ORDER BY 1')).toEqual([{ first_key: '0' }, { first_key: '1' }]);
});

test('a sweep waits for nothing: rows in use are passed over, and a request is answered meanwhile', async () => {
  const url = await filled();
  await using central = await start(url, '1d');
  await sweepAll([central]);
  await central.sql(`UPDATE waypost.sync_requests SET requested_at = requested_at - interval '3 days'`);
  await withClient(url, async (client) => {
    await client.query(`BEGIN; SELECT FROM waypost.sync_requests ORDER BY id LIMIT 10 FOR UPDATE`);
    await central.manifestFor(SHOP_1);
    await central.app.get(AuditSweeper).sweep();
    expect(await central.sql(`SELECT FROM waypost.sync_requests WHERE requested_at < now() - interval '1 day'`)).toHaveLength(10);
    await client.query('ROLLBACK');
  });
});

test('an audit that is empty is swept without end or error', async () => {
  const { url } = await server.createDatabase('audit');
  await runSql(url, SHOP_SCHEMA);
  await using central = await start(url, '1h');
  expect(await central.app.get(AuditSweeper).sweep()).toEqual({ hours: 0, requests: 0, failedAcks: 0, driftReports: 0, manifests: 0 });
});

test('questions about one device and about the fleet are answered', async () => {
  const url = await filled();
  const changes = await runSql<{ row_delta: string | null; changed: boolean | null }>(
    url,
    `SELECT * FROM waypost.table_changes WHERE mac = '02:00:00:00:00:01' AND table_name = 'group_members' ORDER BY sequence`,
  );
  expect(changes).toHaveLength(SIZE.days * SIZE.manifestsPerDeviceAndDay);
  expect(changes[0]).toMatchObject({ row_delta: null, changed: null });
  expect(changes.slice(1).map(({ row_delta, changed }) => [row_delta, changed])).toEqual(changes.slice(1).map(() => ['1', true]));
  const slow = await runSql<{ mac: string; p95_ms: string }>(url, 'SELECT * FROM waypost.slowest_devices');
  expect(slow).toHaveLength(SIZE.devices);
  expect(Number(slow[0]!.p95_ms)).toBeGreaterThan(Number(slow.at(-1)!.p95_ms));
  await runSql(
    url,
    `UPDATE waypost.device_states SET verified_at = now(); UPDATE waypost.device_states SET verified_at = now() - interval '5 h' WHERE mac LIKE '%:02'`,
  );
  expect(await runSql(url, 'SELECT mac FROM waypost.devices_without_ack(4)')).toEqual([{ mac: '02:00:00:00:00:02' }]);
  expect(await runSql(url, 'SELECT mac FROM waypost.devices_without_ack(6)')).toEqual([]);
  const history = await runSql<{ event: string }>(url, `SELECT * FROM waypost.device_history WHERE mac = '02:00:00:00:00:01'`);
  expect(new Set(history.map(({ event }) => event))).toEqual(new Set(['request', 'ack']));
});

test('every view, function and column of the audit says what it is', async () => {
  const { url } = await server.createDatabase('audit');
  await (await openDataSource(dataSourceOptions(url))).destroy();
  const silent = await runSql(
    url,
    `SELECT c.relname AS name FROM pg_class c WHERE c.relnamespace = 'waypost'::regnamespace AND c.relkind = 'v' AND obj_description(c.oid, 'pg_class') IS NULL
     UNION ALL SELECT 'device_status.' || attname FROM pg_attribute
     WHERE attrelid = 'waypost.device_status'::regclass AND attnum > 0 AND col_description(attrelid, attnum) IS NULL`,
  );
  expect(silent).toEqual([]);
});

test.each(['9007199254740991', '9223372036854775807'])(
  'durations of %s ms that are stored already neither stop the counting nor fail a view',
  async (duration) => {
    const { url } = await server.createDatabase('durations');
    await runSql(url, SHOP_SCHEMA);
    await using central = await start(url, '0');
    const { manifestId } = await central.manifestFor(SHOP_1);
    await central.sql(
      `INSERT INTO waypost.sync_acknowledgements
       (manifest_id, mac, completed_at, result, reported_status, duration_ms, device_counts_json, device_hashes_json, ack_sha256)
     SELECT $1, $2, date_trunc('hour', now()) - interval '5 h', 'Failed', 'Failed', $3::bigint, '{}', '{}', n::text FROM generate_series(1, 1100) n`,
      [manifestId, SHOP_1, duration],
    );
    const views = await central.sql<{ name: string }>("SELECT viewname AS name FROM pg_views WHERE schemaname = 'waypost'");
    expect(views.length).toBeGreaterThan(5);
    const counted = (): Promise<unknown[]> => central.sql("SELECT * FROM waypost.acks_by_hour WHERE hour < now() - interval '4 h'");
    const before = await counted();
    expect(before).toMatchObject([{ acks: '1100', mean_duration_ms: '31622400000.0' }]);
    await sweepAll([central]);
    for (const { name } of views) await central.sql(`SELECT * FROM waypost.${name}`);
    expect(await counted()).toEqual(before);
  },
);
