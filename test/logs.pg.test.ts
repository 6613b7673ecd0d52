import { request } from 'node:http';
import { join } from 'node:path';
import { writeFile } from 'node:fs/promises';
import { Listener } from './support/listener.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { post, Service } from './support/service.js';
import { query } from './support/sync-pair.js';
import { temporaryFolder, type TemporaryFolder } from './support/temporary-folder.js';
import { until } from './support/until.js';

const MAC = '02:00:00:00:00:0b';
const API_KEY = 'SEQ-KEY-0815';
const PASSWORD = 'pass-of-proxy';
const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT 1 AS one FROM devices WHERE mac = :mac
tables:
  - name: articles
`;
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY);
  INSERT INTO devices VALUES ('${MAC}');
  CREATE TABLE articles (id int PRIMARY KEY, name text);
  INSERT INTO articles SELECT id, 'article ' || id FROM generate_series(1, 100) AS id;`;

type Line = Record<string, unknown>;

let server: TestServer;
let folder: TemporaryFolder;
let seq: Listener;
let services: Service[] = [];

beforeAll(async () => {
  server = await startTestServer();
  folder = await temporaryFolder();
  await writeFile(join(folder.path, 'plan.yaml'), PLAN);
});
afterAll(async () => {
  await folder[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});
beforeEach(async () => {
  seq = await Listener.start();
});
afterEach(async () => {
  for (const service of services) await service.end('SIGKILL');
  services = [];
  await seq[Symbol.asyncDispose]();
});

async function startPair(env: Record<string, string> = {}): Promise<[Service, Service]> {
  const [central, edge] = [await server.createSide('central'), await server.createSide('edge')];
  await query(central.ownerUrl, SCHEMA);
  const store = join(folder.path, central.name);
  const atCentral = {
    DATABASE_URL: central.serviceUrl,
    SYNC_PLAN: join(folder.path, 'plan.yaml'),
    SNAPSHOT_STORE: `file:${store}`,
    ...env,
  };
  services.push(await Service.start('central-api', atCentral));
  const atEdge = {
    DATABASE_URL: edge.serviceUrl,
    CENTRAL_URL: services[0]!.url,
    DEVICE_MAC: MAC,
    SYNC_INTERVAL: '0',
    DOWNLOAD_DIR: `${store}-downloads`,
  };
  services.push(await Service.start('edge-service', { ...atEdge, ...env }));
  return services as [Service, Service];
}

const linesOf = (service: Service): Line[] => service.log.map((line) => JSON.parse(line) as Line);
const sync = async (edge: Service): Promise<string> => (await post<{ status: string }>(`${edge.url}/api/sync/now`)).body.status;
const atSeq = (): Line[] => seq.received.flatMap(({ body }) => body.split('\n').map((event) => JSON.parse(event) as Line));

test('Seq gets every line that stdout has, to the last, with its ids as properties; neither gets the key or the password', async () => {
  const [central, edge] = await startPair({ SEQ_URL: seq.url.replace('://', `://proxy:${PASSWORD}@`), SEQ_API_KEY: API_KEY });
  expect(await sync(edge)).toBe('Success');
  for (const service of services) expect(await service.end('SIGTERM')).toBe(0);
  for (const service of [central, edge]) {
    const name = linesOf(service)[0]?.['service'];
    const onStdout = linesOf(service).map(({ time, msg }) => `${String(time)} ${String(msg)}`);
    const inSeq = atSeq().filter((event) => event['service'] === name);
    expect(inSeq.map((event) => `${String(event['@t'])} ${String(event['@mt'])}`)).toEqual(onStdout);
  }
  const built = atSeq().find((event) => event['@mt'] === 'snapshot built');
  expect(built).toMatchObject({ '@l': 'Information', mac: MAC, rows: 100, cycleId: expect.any(String), requestId: expect.any(String) });
  const everything = JSON.stringify([central.log, edge.log, seq.received.map(({ body }) => body)]);
  for (const secret of [API_KEY, PASSWORD]) expect(everything).not.toContain(secret);
  expect(seq.received.every(({ headers }) => headers['x-seq-apikey'] === API_KEY)).toBe(true);
});

test('a Seq that hangs, fails and is gone neither ends nor delays a service, and gets what waited when it is back', async () => {
  seq.answer = () => 500;
  const [, edge] = await startPair({ SEQ_URL: seq.url });
  expect(await sync(edge)).toBe('Success');
  await until(() => edge.log.some((line) => line.includes('Seq does not take log lines')));
  seq.received.length = 0;
  seq.answer = () => 200;
  await until(() => edge.log.some((line) => line.includes('Seq takes log lines again')));
  await until(() => atSeq().some((event) => event['@mt'] === 'cycle finished'));
  await seq.stop();
  expect(await sync(edge)).toBe('Unchanged');
  await seq.listen();
  seq.answer = () => 'hang';
  expect(await sync(edge)).toBe('Unchanged');
  for (const service of services) expect(await service.end('SIGTERM')).toBe(0);
});

test('whatever a client sends, each fact is one line of JSON, without a control character', async () => {
  const [central] = await startPair();
  const evil = 'a\r\n{"level":"fatal","msg":"forged"}\n\u001b[31m\u2028\u2029\u0085\u009b\u202e\u0000';
  await post(`${central.url}/api/device-sync/request`, { mac: evil });
  await post(`${central.url}/api/device-sync/ack`, { manifestId: evil, mac: MAC });
  await rawGet(`${central.url}/api/device-sync/manifests/01ARZ3NDEKTSV4RRFFQ69G5FAV/tables/${encodeURIComponent(evil)}/chunks?mac=x`, {
    'waypost-cycle-id': 'forged\tid',
    authorization: 'Bearer secret-token-0815',
    cookie: 'secret-token-0815',
  });
  await central.end('SIGTERM');
  const lines = linesOf(central);
  expect(lines.filter(({ msg }) => msg === 'request refused').map(({ mac }) => mac)).toEqual(
    expect.arrayContaining([evil.replaceAll('\0', '')]),
  );
  expect(lines.some(({ msg }) => msg === 'forged')).toBe(false);
  expect(central.log.filter((line) => /[\u0000-\u001f\u007f-\u009f\u2028-\u202e]/.test(line))).toEqual([]);
  expect(central.log.join('\n')).not.toContain('secret-token');
  expect(central.log.join('\n')).not.toContain('forged\\tid');
});

test('a service that cannot start says so in Seq, too, and its configuration’s secrets nowhere', async () => {
  const env = { SYNC_PLAN: join(folder.path, 'plan.yaml'), SEQ_URL: seq.url, DATABASE_URL: `postgres://waypost:${PASSWORD}@127.0.0.1:1/x` };
  const refused = Service.start('edge-service', { ...env, CENTRAL_URL: seq.url, DEVICE_MAC: MAC, PORT: '1', HOST: '192.0.2.1' });
  const log = await refused.then(
    () => '',
    (error: Error) => error.message,
  );
  expect(log).toContain('edge-service cannot start');
  expect(atSeq().map((event) => event['@mt'])).toContain('edge-service cannot start');
  expect(log).not.toContain(PASSWORD);
  const wrong = await Service.start('central-api', {
    ...env,
    SEQ_URL: `ftp://x:${PASSWORD}@y`,
    OTEL_TRACES_SAMPLER_ARG: '2',
    LOG_LEVEL: 'loud',
  }).catch((error: Error) => error.message);
  for (const name of ['SEQ_URL', 'OTEL_TRACES_SAMPLER_ARG', 'LOG_LEVEL']) expect(wrong).toContain(name);
  expect(wrong).not.toContain(PASSWORD);
});

function rawGet(url: string, headers: Record<string, string>): Promise<void> {
  return new Promise((resolve, reject) => {
    request(url, { headers }, (response) => response.resume().on('end', resolve))
      .on('error', reject)
      .end();
  });
}
