import { fillEdgeAudit } from '../../../../scripts/audit/fill-edge-audit.js';
import { withClient } from '../../../../scripts/with-client.js';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { Edge } from '../../testing/edge.js';

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

/** An edge whose audit reaches ten days back, and which removes nothing of it; its central does not answer. */
async function filledEdge(): Promise<Edge> {
  const { url } = await server.createDatabase('edge');
  const edge = await Edge.start({ databaseUrl: url, centralUrl: 'http://127.0.0.1:1', env: { AUDIT_RETENTION: '0' } });
  await until(async () =>
    (await edge.query("SELECT to_regclass('waypost.edge_hourly_cycles') AS found")).some((row) => (row as { found: string }).found),
  );
  await withClient(url, (client) => fillEdgeAudit(client, { days: 10 }));
  return edge;
}

const COUNTS = 'SELECT * FROM waypost.edge_cycles_by_hour ORDER BY hour, status, error_code';
const OLD = "SELECT id, status FROM waypost.edge_sync_log WHERE started_at < now() - interval '2 days'";

test('hourly counts and totals are the same when the cycles that they count are gone', async () => {
  await using edge = await filledEdge();
  const [before, totals] = [await edge.query(COUNTS), (await edge.status()).totals];
  expect(totals).toMatchObject({ cycles: 2880 });
  expect(before.length).toBeGreaterThan(200);
  await edge.restart({ AUDIT_RETENTION: '2d' });
  await until(async () => (await edge.query(OLD)).length === 0);
  expect(await edge.query(COUNTS)).toEqual(before);
  expect((await edge.status()).totals).toEqual(totals);
  expect(
    await edge.query('SELECT FROM waypost.edge_sync_tables LEFT JOIN waypost.edge_sync_log ON id = edge_sync_id WHERE id IS NULL'),
  ).toEqual([]);
});

test('what is still needed stays: the last success, the manifest that is applied, cycles whose ack waits', async () => {
  await using edge = await filledEdge();
  const manifest = (n: number) => `01JAUDIT${String(n).padStart(18, '0')}`;
  await edge.query(
    "UPDATE waypost.edge_sync_log SET status = 'Failed', error_code = 'LOCK_TIMEOUT' WHERE started_at > now() - interval '95 h'",
  );
  await edge.query(`INSERT INTO waypost.edge_sync_state VALUES ('manifest_id', '${manifest(2)}')`);
  await edge.query(`INSERT INTO waypost.edge_acks (manifest_id, status, body) VALUES ('${manifest(3)}', 'Success', '{}')`);
  await edge.query(
    `INSERT INTO waypost.edge_acks (manifest_id, status, body, refused_at)
     VALUES ('${manifest(4)}', 'Success', '{}', now() - interval '3 days'), ('${manifest(5)}', 'Success', '{}', now() - interval '1 day')`,
  );
  const [lastSuccess] = await edge.query<{ id: string }>(
    "SELECT id FROM waypost.edge_sync_log WHERE status = 'Success' ORDER BY started_at DESC LIMIT 1",
  );
  const [lastGood] = await edge.query<{ id: string }>(
    "SELECT id FROM waypost.edge_sync_log WHERE status = 'Unchanged' ORDER BY started_at DESC LIMIT 1",
  );
  const named = await edge.query<{ id: string }>('SELECT id FROM waypost.edge_sync_log WHERE manifest_id = ANY ($1)', [
    [2, 3, 5].map(manifest),
  ]);
  const needed = [...named, lastSuccess!, lastGood!].map(({ id }) => id).sort();
  expect(needed.length).toBeGreaterThan(3 * 60);
  await edge.restart({ AUDIT_RETENTION: '2d' });
  const kept = async () => (await edge.query<{ id: string }>(`${OLD} ORDER BY id`)).map(({ id }) => id);
  await until(async () => (await kept()).length <= needed.length);
  expect(await kept()).toEqual(needed);
  expect(await edge.query('SELECT manifest_id FROM waypost.edge_acks ORDER BY 1')).toEqual([
    { manifest_id: manifest(3) },
    { manifest_id: manifest(5) },
  ]);
});

test('views tell the slowest cycles, failures by code and how tables grew', async () => {
  await using edge = await filledEdge();
  const slow = await edge.query<{ duration_ms: string }>('SELECT * FROM waypost.edge_slowest_cycles LIMIT 3');
  expect(slow).toEqual(Array(3).fill(expect.objectContaining({ duration_ms: '9000', error_code: expect.any(String) })));
  const codes = await edge.query<{ error_code: string }>('SELECT DISTINCT error_code FROM waypost.edge_failures_by_code ORDER BY 1');
  expect(codes.map(({ error_code }) => error_code)).toEqual(['CENTRAL_UNREACHABLE', 'LOCK_TIMEOUT', 'VERIFICATION_FAILED']);
  const grown = await edge.query<{ sum: string }>(
    `SELECT count(*) FILTER (WHERE changed) AS changed, max(row_delta) AS most FROM waypost.edge_table_changes WHERE table_name = 'users'`,
  );
  expect(grown).toEqual([{ changed: expect.stringMatching(/^1\d\d$/), most: '1' }]);
});
