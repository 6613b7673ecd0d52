import { X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Central, startCentral } from '../apps/central-api/testing/central.js';
import { Edge, queryAt } from '../apps/edge-service/testing/edge.js';
import { TEST_MAC } from '../apps/edge-service/testing/fake-central.js';
import { newAuthority, newCertificate, type SignedCertificate, writePair } from './support/certificates.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { post, Service } from './support/service.js';
import { temporaryFolder, type TemporaryFolder } from './support/temporary-folder.js';
import { waypostJson } from './support/waypost.js';

const SCHEMA = `
  CREATE TABLE devices (mac macaddr);
  INSERT INTO devices VALUES ('${TEST_MAC}');
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

let server: TestServer;
let folder: TemporaryFolder;
let authority: SignedCertificate;
let central: Central;
let centralUrl: string;
let caFile: string;

beforeAll(async () => {
  server = await startTestServer();
  folder = await temporaryFolder();
  authority = await newAuthority();
  caFile = join(folder.path, 'ca.crt');
  await writeFile(caFile, authority.certificate);
  const { certFile, keyFile } = await writePair(folder.path, await newCertificate(authority));
  const atCentral = await server.createSide('central');
  await queryAt(atCentral.ownerUrl, SCHEMA);
  central = await startCentral({ databaseUrl: atCentral.serviceUrl, plan: PLAN, env: { TLS_CERT: certFile, TLS_KEY: keyFile } });
  centralUrl = `https://127.0.0.1:${new URL(central.url).port}`;
});
afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

const databaseUrl = async (): Promise<string> => (await server.createSide('edge')).serviceUrl;
const fingerprint = (): string => new X509Certificate(authority.certificate).fingerprint256;

test.each([
  ['CENTRAL_CA', (): Record<string, string> => ({ CENTRAL_CA: caFile })],
  ['CENTRAL_FINGERPRINT', (): Record<string, string> => ({ CENTRAL_FINGERPRINT: fingerprint() })],
])('a device syncs over HTTPS, by %s', async (_, trust) => {
  await using edge = await Edge.start({ databaseUrl: await databaseUrl(), centralUrl, env: trust() });
  expect(await edge.sync()).toMatchObject({ httpStatus: 200, status: 'Success', ack: 'sent' });
  expect(await edge.query('SELECT count(*)::int AS rows FROM notes')).toEqual([{ rows: 5000 }]);
  expect(await edge.sync()).toMatchObject({ httpStatus: 200, status: 'Unchanged' });
});

test('a device that does not trust central syncs nothing, and raises the alert', async () => {
  await using edge = await Edge.start({ databaseUrl: await databaseUrl(), centralUrl });
  expect(await edge.sync()).toMatchObject({ httpStatus: 502, code: 'CENTRAL_UNTRUSTED' });
  expect(await edge.status()).toMatchObject({ alert: { code: 'CENTRAL_UNTRUSTED' }, breaker: 'closed' });
});

test('an authority of the system is trusted', async () => {
  await using edge = await Service.start('edge-service', {
    DATABASE_URL: await databaseUrl(),
    CENTRAL_URL: centralUrl,
    DEVICE_MAC: TEST_MAC,
    SYNC_INTERVAL: '0',
    SCRUB_INTERVAL: '0',
    DOWNLOAD_DIR: join(folder.path, 'downloads'),
    SSL_CERT_FILE: caFile,
  });
  expect(await post(`${edge.url}/api/sync/now`)).toMatchObject({ status: 200, body: { status: 'Success' } });
});

describe('`waypost verify` trusts as the device does', () => {
  let own: Record<string, string>;
  beforeAll(async () => {
    own = { DATABASE_URL: await databaseUrl(), DEVICE_MAC: TEST_MAC };
    await using edge = await Edge.start({ databaseUrl: own['DATABASE_URL']!, centralUrl, env: { CENTRAL_CA: caFile } });
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
  });
  const found = { code: 0, json: { ok: true, central: { asked: true, found: true, differences: [] } } };
  const failed = (status: number, code: string): object => ({ code: status, json: { error: { code } } });

  test.each<[string, () => Record<string, string>, object]>([
    ['CENTRAL_CA', () => ({ CENTRAL_CA: caFile }), found],
    ['CENTRAL_FINGERPRINT', () => ({ CENTRAL_FINGERPRINT: fingerprint() }), found],
    ['neither', () => ({}), failed(3, 'CENTRAL_UNTRUSTED')],
    ['another fingerprint', () => ({ CENTRAL_FINGERPRINT: '00'.repeat(32) }), failed(3, 'CENTRAL_UNTRUSTED')],
  ])('by %s', async (_, trust, expected) => {
    expect(await waypostJson(['verify', '--central-url', centralUrl], { ...own, ...trust() })).toMatchObject(expected);
  });

  test('plain HTTP to another machine is wrong usage without ALLOW_INSECURE', async () => {
    expect(await waypostJson(['verify', '--central-url', 'http://central.example'], own)).toMatchObject(failed(2, 'CONFIG_INVALID'));
  });
});

test('an edge with plain HTTP to another machine does not start without ALLOW_INSECURE', async () => {
  const env = { DATABASE_URL: await databaseUrl(), CENTRAL_URL: 'http://central.example', DEVICE_MAC: TEST_MAC };
  const log = (await Service.failToStart('edge-service', env)).join('\n');
  expect(log).toContain('CONFIG_INVALID');
  expect(log).toContain('ALLOW_INSECURE=true');
});
