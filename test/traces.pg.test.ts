import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Listener } from './support/listener.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { post, Service } from './support/service.js';
import { type ReceivedSpan, spansOf, treesOf } from './support/spans.js';
import { query } from './support/sync-pair.js';
import { temporaryFolder, type TemporaryFolder } from './support/temporary-folder.js';
import { until } from './support/until.js';

const MAC = '02:00:00:00:00:0a';
/** In rows, and in a parameter of the scope: none of them may ever leave in a span. */
const ROW_VALUE = 'ROW-VALUE-4711';
const PARAMETER_VALUE = 'PARAMETER-VALUE-0815';
const PASSWORD = 'exporter-password';

const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT shop FROM devices WHERE mac = :mac
tables:
  - name: shops
    where: id = :shop
  - name: articles
    where: shop = :shop
`;
const SCHEMA = `
  CREATE TABLE shops (id text PRIMARY KEY, name text NOT NULL);
  INSERT INTO shops VALUES ('${PARAMETER_VALUE}', '${ROW_VALUE}');
  CREATE TABLE devices (mac macaddr PRIMARY KEY, shop text NOT NULL REFERENCES shops);
  INSERT INTO devices VALUES ('${MAC}', '${PARAMETER_VALUE}');
  CREATE TABLE articles (id int PRIMARY KEY, shop text NOT NULL, name text NOT NULL);
  INSERT INTO articles SELECT id, '${PARAMETER_VALUE}', '${ROW_VALUE}' FROM generate_series(1, 300) AS id;`;

let server: TestServer;
let folder: TemporaryFolder;
let collector: Listener;
let services: Service[] = [];
const urls = { central: '', edge: '' };
const env = { central: {} as Record<string, string>, edge: {} as Record<string, string> };

beforeAll(async () => {
  server = await startTestServer();
  folder = await temporaryFolder();
  collector = await Listener.start();
  await writeFile(join(folder.path, 'plan.yaml'), PLAN);
});
afterAll(async () => {
  await collector[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});
beforeEach(async () => {
  const [central, edge] = [await server.createSide('central'), await server.createSide('edge')];
  urls.central = central.url;
  urls.edge = edge.url;
  await query(central.ownerUrl, SCHEMA);
  collector.answer = () => 200;
  collector.received.length = 0;
  const tracing = {
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_HEADERS: `authorization=Basic%20${PASSWORD}`,
    OTEL_TRACES_SAMPLER: '',
  };
  const store = join(folder.path, `snapshots-${Date.now()}`);
  env.central = {
    ...tracing,
    DATABASE_URL: central.serviceUrl,
    SYNC_PLAN: join(folder.path, 'plan.yaml'),
    SNAPSHOT_STORE: `file:${store}`,
  };
  env.edge = {
    ...tracing,
    DATABASE_URL: edge.serviceUrl,
    DEVICE_MAC: MAC,
    SYNC_INTERVAL: '0',
    DOWNLOAD_DIR: join(store, 'downloads'),
    OTEL_SERVICE_NAME: 'edge-of-shop',
  };
});
afterEach(async () => {
  for (const service of services) await service.end('SIGKILL');
  services = [];
});

async function start(more: { central?: Record<string, string>; edge?: Record<string, string> } = {}): Promise<[Service, Service]> {
  const central = await Service.start('central-api', { ...env.central, ...more.central });
  services.push(central);
  const edge = await Service.start('edge-service', { ...env.edge, CENTRAL_URL: central.url, ...more.edge });
  services.push(edge);
  return [central, edge];
}

interface Answer {
  status: string | number;
  cycleId: string;
  manifestId: string;
  code?: string;
}

const sync = async (edge: Service): Promise<Answer> => (await post<Answer>(`${edge.url}/api/sync/now`)).body;

/** Ends the services, which send what they hold, and gives all spans. */
async function spansAfterStop(): Promise<ReceivedSpan[]> {
  for (const service of services) expect(await service.end('SIGTERM')).toBe(0);
  return spansOf(collector);
}

const FIRST_SYNC = `
cycle
  request
    POST /api/device-sync/request
      scope
      snapshot
        build table shops
        build table articles
      manifest
      audit
  compare
  download
  prepare
  load shops
  load articles
  verify shops
  verify articles
  commit
  acks
    ack
      POST /api/device-sync/ack`.trim();

const CHANGED = `
cycle
  request
    POST /api/device-sync/request
      scope
      snapshot
        build table shops
        build table articles
      manifest
      audit
  compare
  download
    download table articles
      GET /api/device-sync/manifests/:manifestId/tables/:table/delta articles
        make delta
  prepare
  load articles
  merge
  verify articles
  commit
  acks
    ack
      POST /api/device-sync/ack`.trim();

const EARLY = /^(request|compare|prepare|load)/;

const UNCHANGED = `
cycle
  request
    POST /api/device-sync/request
      scope
      snapshot
        build table shops
        build table articles
      manifest
      audit
  compare
  confirm
    commit`.trim();

test('each cycle is one trace from the device through central and back; each span names manifest, device and cycle', async () => {
  const [, edge] = await start();
  const [first, second] = [await sync(edge), await sync(edge)];
  await query(urls.central, `UPDATE articles SET name = '${ROW_VALUE}!' WHERE id = 7`);
  const third = await sync(edge);
  expect([first.status, second.status, third.status]).toEqual(['Success', 'Unchanged', 'Success']);
  const spans = await spansAfterStop();

  expect(treesOf(spans)).toEqual([FIRST_SYNC, UNCHANGED, CHANGED]);
  expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(3);
  // The rows of a first sync come before its manifest: what ends by then cannot name it.
  const early = spans.filter(({ attributes }) => attributes['waypost.manifest_id'] === undefined);
  expect(early.every(({ name, attributes }) => EARLY.test(name) && attributes['waypost.cycle_id'] === first.cycleId)).toBe(true);
  const manifests = new Set(spans.filter((span) => !early.includes(span)).map(({ attributes }) => attributes['waypost.manifest_id']));
  expect(manifests).toEqual(new Set([first.manifestId, third.manifestId]));
  expect(new Set(spans.map(({ attributes }) => attributes['waypost.mac']))).toEqual(new Set([MAC]));
  const cycles = [first, second, third].map(({ cycleId }) => cycleId);
  expect(new Set(spans.map(({ attributes }) => attributes['waypost.cycle_id']))).toEqual(new Set(cycles));
  expect(new Set(spans.map(({ service }) => service))).toEqual(new Set(['central-api', 'edge-of-shop']));
  expectWithinParents(spans);
  const named = (name: string, table: string) => spans.find((span) => span.name === name && span.attributes['waypost.table'] === table);
  expect(named('build table', 'articles')?.attributes).toMatchObject({ 'waypost.rows': 300, 'db.system.name': 'postgresql' });
  expect(named('build table', 'articles')?.attributes['db.query.text']).toContain('current_setting(');
  expect(named('load', 'articles')?.attributes['db.query.text']).toMatch(/^COPY /);
  expect(named('verify', 'articles')?.attributes).toMatchObject({
    'waypost.rows': 300,
    'waypost.sha256': expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  expect(named('download table', 'articles')?.attributes['waypost.received_bytes']).toBeGreaterThan(100);
  expect(spans.find(({ name }) => name === 'scope')?.attributes['db.query.text']).toContain('mac = $1');
  expectNoValues();
  expect(collector.received.every(({ headers }) => headers.authorization === `Basic ${PASSWORD}`)).toBe(true);
});

test('a verification that fails is told by its code up to the root, with the rollback instead of a commit', async () => {
  const [, edge] = await start();
  expect((await sync(edge)).status).toBe('Success');
  await query(
    urls.edge,
    `CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := NEW.name || '?'; RETURN NEW; END $$;
     CREATE TRIGGER spoil BEFORE INSERT OR UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION spoil()`,
  );
  await query(urls.central, `UPDATE articles SET name = '${ROW_VALUE}!' WHERE id = 7`);
  const failed = await sync(edge);
  expect(failed.code).toBe('VERIFICATION_FAILED');
  const spans = await spansAfterStop();

  const tree = treesOf(spans)[1] as string;
  expect(tree.split('\n')[0]).toBe('cycle !VERIFICATION_FAILED');
  expect(tree).toContain('\n  verify articles !VERIFICATION_FAILED\n  acks\n    ack\n      POST /api/device-sync/ack');
  expect(tree).not.toContain('\n  commit');
  const trace = spans.filter(({ traceId }) => traceId === spans.find(({ status }) => status === 2)?.traceId);
  const manifests = new Set(trace.map(({ attributes }) => attributes['waypost.manifest_id']));
  expect([...manifests]).toEqual([expect.stringMatching(/^[0-9A-HJKMNP-TV-Z]{26}$/)]);
  expectNoValues();
});

test('a central that is away leaves a trace that says so, and spans of earlier acks keep their own manifest', async () => {
  const [central, edge] = await start({ central: { WAYPOST_FAULTS: 'central.ack-received:kill' } });
  const first = await sync(edge);
  expect([first.status, central.isRunning]).toEqual(['Success', false]);
  expect((await sync(edge)).code).toBe('CENTRAL_UNREACHABLE');
  await edge.end('SIGTERM');

  const trees = treesOf(spansOf(collector));
  expect(trees.at(-1)).toBe('cycle !CENTRAL_UNREACHABLE\n  acks\n    ack !CENTRAL_UNREACHABLE\n  request !CENTRAL_UNREACHABLE');
  const late = spansOf(collector).filter(({ name }) => name === 'ack');
  expect(late.map(({ attributes }) => attributes['waypost.manifest_id'])).toEqual([first.manifestId, first.manifestId]);
});

test('log lines on both sides carry the trace, the cycle and the request', async () => {
  const [central, edge] = await start();
  const { cycleId, manifestId } = await sync(edge);
  const spans = await spansAfterStop();
  const [root] = spans.filter(({ name }) => name === 'cycle');
  const lines = (service: Service) => service.log.map((line) => JSON.parse(line) as Record<string, unknown>);
  const atCentral = lines(central).filter((line) => line['cycleId'] === cycleId);
  const messages = atCentral.map(({ msg }) => msg);
  expect(messages).toEqual(expect.arrayContaining(['snapshot built', 'ack stored', 'request answered']));
  expect(new Set(atCentral.map((line) => line['trace_id']))).toEqual(new Set([root?.traceId]));
  expect(atCentral.every((line) => typeof line['requestId'] === 'string' && line['mac'] === MAC)).toBe(true);
  const atEdge = lines(edge).filter((line) => line['cycleId'] === cycleId);
  expect(new Set(atEdge.map((line) => line['trace_id']))).toEqual(new Set([root?.traceId]));
  expect(atEdge.find(({ msg }) => msg === 'cycle finished')).toMatchObject({ manifestId, mac: MAC, span_id: root?.spanId });
  const asked = atEdge.find(({ msg, path }) => msg === 'central answers' && path === '/api/device-sync/request');
  expect(atCentral.find(({ msg }) => msg === 'snapshot built')).toMatchObject({ requestId: asked?.['centralRequestId'] });
  const audited = await query(urls.central, 'SELECT request_id, cycle_id, manifest_id FROM waypost.sync_requests');
  expect(audited).toEqual([{ request_id: asked?.['centralRequestId'], cycle_id: cycleId, manifest_id: manifestId }]);
});

test('sampling is decided at the root: what the device does not sample, central does not send either', async () => {
  const [, edge] = await start({ edge: { OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '0' } });
  expect((await sync(edge)).status).toBe('Success');
  expect(await spansAfterStop()).toEqual([]);
});

test('the SDK reads its own variables: protocol, resource detectors and attributes, batches', async () => {
  const [, edge] = await start({
    central: { OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf' },
    edge: { OTEL_NODE_RESOURCE_DETECTORS: 'host,env', OTEL_RESOURCE_ATTRIBUTES: 'shop.id=4711', OTEL_BSP_SCHEDULE_DELAY: '10' },
  });
  expect((await sync(edge)).status).toBe('Success');
  const ofEdge = () => collector.received.filter(({ headers }) => headers['content-type'] === 'application/json');
  // Long before the default delay of 5 s is over, or the end of the service sends the rest.
  await until(() => ofEdge().length > 0);
  const { resourceSpans } = JSON.parse(ofEdge()[0]!.body) as { resourceSpans: { resource: { attributes: { key: string }[] } }[] };
  const names = resourceSpans[0]!.resource.attributes.map(({ key }) => key);
  expect(names).toEqual(expect.arrayContaining(['service.name', 'host.name', 'shop.id']));
  for (const service of services) expect(await service.end('SIGTERM')).toBe(0);
  expect(collector.received.map(({ headers }) => headers['content-type'])).toContain('application/x-protobuf');
});

test('a traceparent that is not well-formed starts a trace of its own', async () => {
  const [central] = await start();
  const traceId = 'abcdefabcdefabcdefabcdefabcdef01';
  const good = `00-${traceId}-0123456789abcdef-01`;
  const bad = [
    '',
    '00',
    good.replace('00-', 'ff-'),
    good.toUpperCase(),
    `${good}-more`,
    `${good}, ${good}`,
    `00-${'0'.repeat(32)}-0123456789abcdef-01`,
  ];
  const ask = (traceparent: string, cycleId: string) =>
    fetch(`${central.url}/api/device-sync/request`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', traceparent, 'waypost-cycle-id': cycleId },
      body: JSON.stringify({ mac: MAC }),
    });
  for (const header of bad) expect((await ask(header, 'not a ulid')).status).toBe(200);
  expect((await ask(good, '01ARZ3NDEKTSV4RRFFQ69G5FAV')).status).toBe(200);
  const requests = (await spansAfterStop()).filter(({ name }) => name === 'POST /api/device-sync/request');
  expect(requests).toHaveLength(bad.length + 1);
  const [continued, ...own] = [...requests].reverse();
  expect(continued).toMatchObject({
    traceId,
    parentSpanId: '0123456789abcdef',
    attributes: { 'waypost.cycle_id': '01ARZ3NDEKTSV4RRFFQ69G5FAV' },
  });
  for (const { traceId: other, parentSpanId, attributes } of own) {
    expect([other === traceId, parentSpanId, attributes['waypost.cycle_id']]).toEqual([false, undefined, undefined]);
  }
});

test.each(['away', 'hang', 500] as const)('a collector that is %s ends and delays nothing', async (fault) => {
  if (fault === 'away') await collector.stop();
  else collector.answer = () => fault;
  try {
    const [central, edge] = await start();
    for (let cycle = 0; cycle < 3; cycle += 1) expect(['Success', 'Unchanged']).toContain((await sync(edge)).status);
    // Both end by themselves within their 9 s, else the exit code says otherwise.
    expect(await edge.end('SIGTERM')).toBe(0);
    expect(await central.end('SIGTERM')).toBe(0);
    if (fault === 500) expect(edge.log.filter((line) => line.includes('spans cannot be sent'))).toHaveLength(1);
    expect(edge.log.join('\n')).not.toContain(PASSWORD);
  } finally {
    if (fault === 'away') await collector.listen();
  }
});

function expectWithinParents(spans: readonly ReceivedSpan[]): void {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  for (const span of spans) {
    const parent = byId.get(span.parentSpanId ?? '');
    expect(span.endedAt).toBeGreaterThanOrEqual(span.startedAt);
    // Within one process there is one clock for a trace.
    if (parent?.service !== span.service) continue;
    expect(span.startedAt).toBeGreaterThanOrEqual(parent.startedAt);
    expect(span.endedAt).toBeLessThanOrEqual(parent.endedAt);
  }
}

function expectNoValues(): void {
  const sent = collector.received.map(({ body }) => body).join('\n');
  expect(sent.length).toBeGreaterThan(1000);
  for (const secret of [ROW_VALUE, PARAMETER_VALUE, PASSWORD, env.central['DATABASE_URL'], env.edge['DATABASE_URL']])
    expect(sent).not.toContain(secret);
}
