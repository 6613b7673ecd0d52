import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { text } from 'node:stream/consumers';
import { join } from 'node:path';
import { csrDigest, type Problem, type TokenResponse } from '@waypost/contracts';
import { queryOn, withClient } from '@waypost/runtime';
import { testPool } from './support/test-pool.js';
import { issueDeviceCertificate } from '../apps/central-api/src/certificates/issue-device-certificate.js';
import { privateKeyOf } from '../apps/central-api/src/identity/ed25519.js';
import { invite } from '../apps/central-api/src/read-models/identities.js';
import { type Answer, type Central, startCentral } from '../apps/central-api/testing/central.js';
import { DeviceClient } from '../apps/central-api/testing/device-client.js';
import { newCertificateRequest } from '../apps/edge-service/src/identity/certificate-request.js';
import type { StoredCertificate } from '../apps/edge-service/src/identity/identity-files.js';
import { Edge, queryAt } from '../apps/edge-service/testing/edge.js';
import { TEST_MAC } from '../apps/edge-service/testing/fake-central.js';
import { newAuthority, newCertificate, writePair } from './support/certificates.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { temporaryFolder, type TemporaryFolder } from './support/temporary-folder.js';
import { waypostJson } from './support/waypost.js';

/** Devices that show certificates on their TLS connections: who gets one, what it opens, and what none opens. */

const OTHER_MAC = '02:00:00:00:00:02';
const SCHEMA = `
  CREATE TABLE devices (mac macaddr);
  INSERT INTO devices VALUES ('${TEST_MAC}'), ('${OTHER_MAC}');
  CREATE TABLE notes (id int PRIMARY KEY, note text);
  INSERT INTO notes SELECT id, md5(id::text) FROM generate_series(1, 100) AS id`;
const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT mac::text FROM devices WHERE mac = :mac
tables:
  - name: notes
`;
const DAY_MS = 86_400_000;

let server: TestServer;
let folder: TemporaryFolder;
let caFile: string;
let tls: Record<string, string>;
let ca: string;

beforeAll(async () => {
  server = await startTestServer();
  folder = await temporaryFolder();
  const authority = await newAuthority();
  ca = authority.certificate;
  caFile = join(folder.path, 'ca.crt');
  await writeFile(caFile, ca);
  const { certFile, keyFile } = await writePair(folder.path, await newCertificate(authority));
  tls = { TLS_CERT: certFile, TLS_KEY: keyFile };
});
afterAll(async () => {
  await folder?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

interface Site extends AsyncDisposable {
  central: Central;
  url: string;
  edge: Edge;
  /** An enrolled device of this test's own. */
  other: DeviceClient;
  certificate: () => Promise<StoredCertificate>;
  replaceStored: (changed: Partial<StoredCertificate>) => Promise<void>;
}

/** A central with TLS_CLIENT_AUTH, an edge that has enrolled and synced, and another device. */
async function start(mode: 'optional' | 'require'): Promise<Site> {
  await using stack = new AsyncDisposableStack();
  const side = await server.createSide('central');
  await queryAt(side.ownerUrl, SCHEMA);
  const env = { AUTH: 'device', TLS_CLIENT_AUTH: mode, ...tls };
  const central = stack.use(await startCentral({ databaseUrl: side.serviceUrl, plan: PLAN, env }));
  const url = `https://127.0.0.1:${new URL(central.url).port}`;
  const pool = testPool(side.serviceUrl);
  stack.defer(() => pool.end());
  const tokenFor = async (mac: string): Promise<string> => {
    const invitation = { mac, name: undefined, uses: 1, lifeMs: 60_000, needsApproval: false, by: 'test' };
    return (await withClient(pool, (client) => invite(queryOn(client), invitation))).token;
  };
  const edge = await Edge.start({
    databaseUrl: (await server.createSide('edge')).serviceUrl,
    centralUrl: url,
    env: { CENTRAL_CA: caFile, ENROLLMENT_TOKEN: await tokenFor(TEST_MAC) },
  });
  stack.use(edge);
  expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  // Central's helper speaks plain HTTP.
  const overTls = {
    ...central,
    post: (path: string, body: unknown, headers?: Record<string, string>) => ask(url, path, body, { headers }),
  };
  const other = new DeviceClient(overTls as Central, OTHER_MAC);
  await other.enroll(await tokenFor(OTHER_MAC));
  const file = join(edge.folder, 'identity', 'certificate.json');
  const certificate = async (): Promise<StoredCertificate> => JSON.parse(await readFile(file, 'utf8')) as StoredCertificate;
  const owned = stack.move();
  return {
    central,
    url,
    edge,
    other,
    certificate,
    replaceStored: async (changed) => writeFile(file, JSON.stringify({ ...(await certificate()), ...changed })),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

interface More {
  headers?: Record<string, string> | undefined;
  shown?: { certificate: string; privateKey: string } | undefined;
}

/** POSTs JSON on a connection of its own. */
async function ask<Body = Problem>(url: string, path: string, body: unknown, { headers, shown }: More = {}): Promise<Answer<Body>> {
  const asked = request(url + path, {
    method: 'POST',
    ca,
    agent: false,
    headers: { 'content-type': 'application/json', ...headers },
    ...(shown ? { cert: shown.certificate, key: shown.privateKey } : {}),
  });
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  asked.on('response', resolve).on('error', reject).end(JSON.stringify(body));
  const answer = await promise;
  return { status: answer.statusCode as number, headers: new Headers(), body: JSON.parse(await text(answer)) as Body };
}

const poll = ({ url }: Site, mac: string, more: More) => ask(url, '/api/device-sync/request', { mac }, more);

/** A certificate of the device that `other` is. */
async function certify(device: DeviceClient, csr: string, digest = csrDigest(csr)): Promise<Answer<TokenResponse & Problem>> {
  return device.askForToken(device.assertion({ csr: digest }), { csr });
}

describe('TLS_CLIENT_AUTH=require', () => {
  let site: Site;
  beforeAll(async () => {
    site = await start('require');
  });
  afterAll(() => site?.[Symbol.asyncDispose]());

  test('a device gets a certificate for 30 days with its access token, and its key is its user’s alone', async () => {
    const { certificate } = await site.certificate();
    const { subject, validToDate, keyUsage } = new X509Certificate(certificate);
    expect(subject).toContain('CN=');
    expect(keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    expect(Math.round((validToDate.getTime() - Date.now()) / DAY_MS)).toBe(30);
    expect((await stat(join(site.edge.folder, 'identity', 'certificate.json'))).mode & 0o777).toBe(0o600);
    const stored = await site.central.sql<{ at: Date }>(
      'SELECT certificate_expires_at AS at FROM waypost.device_keys WHERE certificate_expires_at IS NOT NULL',
    );
    expect(stored).toEqual([{ at: validToDate }]);
  });

  test('connections that are opened again, with a resumed session or not, show it too', async () => {
    for (let round = 0; round < 3; round += 1) {
      expect(await site.edge.sync()).toMatchObject({ status: 'Unchanged' });
      // One that is idle is closed.
      site.central.app.getHttpServer().closeIdleConnections();
    }
  });

  test('`waypost verify` on the device asks central as the device does', async () => {
    const { databaseUrl, folder } = site.edge;
    const env = { DATABASE_URL: databaseUrl, DEVICE_MAC: TEST_MAC, CENTRAL_CA: caFile, IDENTITY_DIR: join(folder, 'identity') };
    const found = { code: 0, json: { ok: true, central: { asked: true, found: true, differences: [] } } };
    expect(await waypostJson(['verify', '--central-url', site.url], env)).toMatchObject(found);
    expect(await site.edge.sync()).toMatchObject({ status: 'Unchanged' });
    const cloned = await site.central.sql('SELECT FROM waypost.device_keys WHERE cloned_at IS NOT NULL');
    expect(cloned).toEqual([]);
  });

  test('an access token without a certificate opens nothing', async () => {
    const headers = await site.other.authorization();
    expect(await poll(site, OTHER_MAC, { headers })).toMatchObject({ status: 401, body: { code: 'CERTIFICATE_REQUIRED' } });
  });

  test('nor does it with the certificate of another device, of a stranger, or one that has ended', async () => {
    const headers = await site.other.authorization();
    const { deviceId } = site.other.enrolled!;
    const { privateKey, csr } = await newCertificateRequest();
    const made = async (authority: ReturnType<typeof privateKeyOf>, now = new Date()) => {
      const certificate = await issueDeviceCertificate({ authority, csr, deviceId, thumbprint: site.other.thumbprint, now });
      return { privateKey, certificate };
    };
    const [row] = await site.central.sql<{ seed: Buffer }>('SELECT seed FROM waypost.device_authorities');
    const [ours, strange] = [privateKeyOf(row!.seed), privateKeyOf(Buffer.alloc(32, 7))];
    const refused = { status: 401, body: { code: 'CERTIFICATE_REQUIRED' } };
    expect(await poll(site, OTHER_MAC, { headers, shown: await site.certificate() })).toMatchObject(refused);
    expect(await poll(site, OTHER_MAC, { headers, shown: await made(strange) })).toMatchObject(refused);
    expect(await poll(site, OTHER_MAC, { headers, shown: await made(ours, new Date(Date.now() - 31 * DAY_MS)) })).toMatchObject(refused);
    expect(await poll(site, OTHER_MAC, { headers, shown: await made(ours) })).toMatchObject({ status: 200 });
  });

  test('a request for one that the device did not sign, or that is none, gets nothing', async () => {
    const { csr } = await newCertificateRequest();
    expect(await certify(site.other, csr, csrDigest('another'))).toMatchObject({ status: 401, body: { code: 'ASSERTION_INVALID' } });
    expect(await certify(site.other, 'nonsense')).toMatchObject({ status: 400, body: { code: 'REQUEST_INVALID' } });
    const altered = csr.replace(/\n(.{10})(.)/, (_line, before: string, one: string) => `\n${before}${one === 'A' ? 'B' : 'A'}`);
    expect(await certify(site.other, altered)).toMatchObject({ status: 400, body: { code: 'REQUEST_INVALID' } });
    const answer = await certify(site.other, csr);
    const { deviceId } = site.other.enrolled!;
    expect(new X509Certificate(answer.body.certificate!).subject).toBe(`CN=${deviceId}\nOU=${site.other.thumbprint}`);
  });

  test('one that has ended while the device was off, is damaged, or is for a key that was replaced, is renewed by itself', async () => {
    const before = await site.certificate();
    const [row] = await site.central.sql<{ seed: Buffer }>('SELECT seed FROM waypost.device_authorities');
    const device = new X509Certificate(before.certificate).toLegacyObject().subject;
    const { privateKey, csr } = await newCertificateRequest();
    const ended = await issueDeviceCertificate({
      authority: privateKeyOf(row!.seed),
      csr,
      deviceId: String(device['CN']),
      thumbprint: String(device['OU']),
      now: new Date(Date.now() - 300 * DAY_MS),
    });
    for (const changed of [{ certificate: ended, privateKey }, { certificate: 'nonsense' }, { key: 'x'.repeat(43) }]) {
      await site.replaceStored(changed);
      await site.edge.restart();
      expect(await site.edge.sync()).toMatchObject({ status: 'Unchanged' });
      const { certificate, privateKey: key } = await site.certificate();
      expect(new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key))).toBe(true);
      expect(new X509Certificate(certificate).validToDate.getTime()).toBeGreaterThan(Date.now() + 29 * DAY_MS);
    }
    await site.central.sql('UPDATE waypost.devices SET rotate_keys_before = now() WHERE mac = $1', [TEST_MAC]);
    await site.edge.restart();
    expect(await site.edge.sync()).toMatchObject({ status: 'Unchanged' });
    expect((await site.certificate()).key).not.toBe(before.key);
  });
});

test('TLS_CLIENT_AUTH=optional: an access token alone is enough, but not with the certificate of another device', async () => {
  await using site = await start('optional');
  const headers = await site.other.authorization();
  expect(await poll(site, OTHER_MAC, { headers })).toMatchObject({ status: 200 });
  const shown = await site.certificate();
  expect(await poll(site, OTHER_MAC, { headers, shown })).toMatchObject({ status: 401, body: { code: 'CERTIFICATE_REQUIRED' } });
});
