import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ERROR_KINDS } from '@waypost/contracts';
import { type Central, startCentral } from '../apps/central-api/testing/central.js';
import { Edge, queryAt } from '../apps/edge-service/testing/edge.js';
import { TEST_MAC } from '../apps/edge-service/testing/fake-central.js';
import { documentedMetrics, exportedMetrics } from './support/documented-metrics.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { promtool, testWithPromtool } from './support/promtool.js';
import { scrape } from './support/samples.js';

/** What both services export after they have worked together, and failed. */

const FAILING_MAC = '02:00:00:00:00:02';
const SCHEMA = `
  CREATE TABLE devices (mac macaddr);
  INSERT INTO devices VALUES ('${TEST_MAC}'), ('${FAILING_MAC}');
  CREATE TABLE notes (id int PRIMARY KEY, note text);
  INSERT INTO notes SELECT id, md5(id::text) FROM generate_series(1, 5000) AS id`;
const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT mac::text FROM devices WHERE mac = :mac
tables:
  - name: notes
`;

const INVENTED = 'invented-by-a-client';
const RUBBISH: [path: string, body: unknown][] = [
  ['/api/device-sync/request', { mac: INVENTED }],
  ['/api/device-sync/request', { mac: '02:00:00:00:00:99', have: INVENTED }],
  ['/api/device-sync/request', `{"${INVENTED}`],
  [`/api/device-sync/request/${INVENTED}`, {}],
  ['/api/device-sync/ack', { manifestId: '01ARZ3NDEKTSV4RRFFQ69G5FAV', mac: '02:00:00:00:00:99', status: INVENTED }],
];
const STRANGE_DOWNLOADS = [
  `/api/device-sync/manifests/${INVENTED}/tables/${INVENTED}/chunks?mac=${INVENTED}`,
  `/api/device-sync/manifests/01ARZ3NDEKTSV4RRFFQ69G5FAV/tables/${INVENTED}/chunks?mac=02:00:00:00:00:99`,
];

let server: TestServer;
let central: Central;
let edge: Edge;
/** Of another schema version, so that its cycles fail. */
let failing: Edge;

beforeAll(async () => {
  server = await startTestServer();
  const atCentral = await server.createSide('central');
  await queryAt(atCentral.ownerUrl, SCHEMA);
  central = await startCentral({ databaseUrl: atCentral.serviceUrl, plan: PLAN });
  const start = async (env: Record<string, string>): Promise<Edge> =>
    Edge.start({ databaseUrl: (await server.createSide('edge')).serviceUrl, centralUrl: central.url, env });
  failing = await start({ SCHEMA_VERSION: '99', DEVICE_MAC: FAILING_MAC });
  edge = await start({});
  expect(await failing.sync()).toMatchObject({ code: 'SCHEMA_VERSION_MISMATCH' });
  expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  await queryAt(atCentral.ownerUrl, 'DELETE FROM notes WHERE id = 5000');
  expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  for (const [path, body] of RUBBISH) await central.post(path, body);
  for (const path of STRANGE_DOWNLOADS) await fetch(central.url + path);
});
afterAll(async () => {
  await failing?.[Symbol.asyncDispose]();
  await edge?.[Symbol.asyncDispose]();
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

const pageOf = async ({ url }: { url: string }): Promise<string> => (await fetch(`${url}/metrics`)).text();

test('docs/observability.md names all metrics of both services with type, labels and meaning, and no others', async () => {
  const exported = new Map([...exportedMetrics(await pageOf(central)), ...exportedMetrics(await pageOf(edge))]);
  // What only a failure makes.
  for (const [name, { labels }] of exportedMetrics(await pageOf(failing))) if (labels.length > 0) exported.get(name)!.labels = labels;
  const rows = (metrics: typeof exported): string[] =>
    [...metrics]
      .map(
        ([name, { type, labels, help }]) =>
          `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ') || '–'} | ${help} |`,
      )
      .sort();
  expect(exported.size).toBeGreaterThan(30);
  expect(rows(await documentedMetrics())).toEqual(rows(exported));
});

testWithPromtool('names, units and help texts are as Prometheus wants them', async () => {
  for (const service of [central, edge, failing]) expect(await promtool(['check', 'metrics'], await pageOf(service))).toBe('');
});

test('no label takes what a client makes up', async () => {
  const page = await pageOf(central);
  expect(page).not.toContain(INVENTED);
  expect(page).not.toContain(TEST_MAC);
  const reasons = new Set([...page.matchAll(/(?:reason|code)="(.*?)"/g)].map(([, reason]) => reason!));
  expect([...reasons].filter((reason) => reason !== '' && reason !== 'unchanged' && !Object.hasOwn(ERROR_KINDS, reason))).toEqual([]);
  expect(reasons).toContain('MAC_INVALID');
});

test('the numbers are those of what happened', async () => {
  const [there, here, failed] = await Promise.all([scrape(central.url), scrape(edge.url), scrape(failing.url)]);
  expect(Object.fromEntries(here)).toMatchObject({
    'waypost_edge_cycles_total{status="success"}': 2,
    'waypost_edge_cycles_total{status="failed"}': 0,
    waypost_edge_rows_loaded_total: 5001,
    waypost_edge_cycle_running: 0,
    waypost_edge_pending_acks: 0,
    waypost_edge_refused_acks: 0,
    waypost_edge_kept_rows: 0,
    waypost_edge_breaker_state: 0,
    waypost_edge_sync_interval_seconds: 0,
  });
  expect(Object.fromEntries(failed)).toMatchObject({
    'waypost_edge_cycle_failures_total{code="SCHEMA_VERSION_MISMATCH"}': 1,
    'waypost_edge_alerts{code="SCHEMA_VERSION_MISMATCH"}': 1,
    waypost_edge_consecutive_failures: 1,
    waypost_edge_verified_age_seconds: -1,
  });
  expect(Object.fromEntries(there)).toMatchObject({
    'waypost_central_acks_total{result="Success"}': 2,
    'waypost_central_acks_total{result="Failed"}': 1,
    'waypost_central_requests_total{operation="download",status="Answered",reason=""}': 1,
    'waypost_central_requests_total{operation="ack",status="Answered",reason=""}': 3,
    'waypost_central_requests_in_flight{operation="download"}': 0,
    waypost_central_builds_in_flight: 0,
    waypost_central_builds_waiting: 0,
    'waypost_central_fleet_devices{state="fresh"}': 1,
    'waypost_central_fleet_devices{state="never"}': 1,
    'waypost_central_fleet_failing_devices{code="SCHEMA_VERSION_MISMATCH"}': 1,
    waypost_central_fleet_scrape_success: 1,
  });
  // One of the failing device, and two of the other; and perhaps the failing one's live stream, which it breaks off.
  const issued = there.get('waypost_central_requests_total{operation="request",status="Issued",reason=""}')!;
  expect([3, 4]).toContain(issued);
  expect(there.get('waypost_central_snapshot_table_build_duration_seconds_count')).toBeGreaterThanOrEqual(3);
  // Both ways of the rows: in the answer to a first request, and as a delta. What remains are headers and manifests.
  const downloaded = here.get('waypost_edge_downloaded_bytes_total')!;
  const sentOf = (operation: string): number => there.get(`waypost_central_sent_bytes_total{operation="${operation}"}`)!;
  expect(sentOf('download')).toBeGreaterThan(0);
  expect(sentOf('download')).toBeLessThan(downloaded);
  expect(sentOf('download') + sentOf('request')).toBeGreaterThan(downloaded);
  expect(Math.abs(here.get('waypost_edge_clock_offset_seconds')!)).toBeLessThan(60);
  for (const [free, size, samples] of [
    ['waypost_central_store_free_bytes', 'waypost_central_store_size_bytes', there],
    ['waypost_edge_disk_free_bytes{disk="downloads"}', 'waypost_edge_disk_size_bytes{disk="downloads"}', here],
  ] as const) {
    expect(samples.get(free)).toBeGreaterThan(0);
    expect(samples.get(size)).toBeGreaterThanOrEqual(samples.get(free)!);
  }
  expect(there.get('waypost_central_store_bytes')).toBe(await bytesIn(central.store));
});

async function bytesIn(folder: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) total += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return total;
}

test('every query of the runbooks runs', async () => {
  const folder = join(import.meta.dirname, '../docs/runbooks');
  let queries = 0;
  for (const file of await readdir(folder)) {
    const page = await readFile(join(folder, file), 'utf8');
    for (const [, sql] of page.matchAll(/^```sql\n(.*?)^```$/gms)) {
      const side = /^-- (central|edge)\n/.exec(sql!)?.[1];
      const run = side === 'central' ? central.sql(sql!) : edge.query<object>(sql!);
      await expect(run.then(() => `${file}: ${side}`)).resolves.toMatch(/: (central|edge)$/);
      queries += 1;
    }
  }
  expect(queries).toBeGreaterThan(10);
});
