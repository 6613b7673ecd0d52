import { X509Certificate } from 'node:crypto';
import { get } from 'node:https';
import { text } from 'node:stream/consumers';
import { type Central, startCentral } from '../apps/central-api/testing/central.js';
import { newAuthority, newCertificate, type SignedCertificate, writePair } from './support/certificates.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { temporaryFolder, type TemporaryFolder } from './support/temporary-folder.js';
import { until } from './support/until.js';
import { waypostJson } from './support/waypost.js';
import { queryAt } from '../apps/edge-service/testing/edge.js';

const SCHEMA = `
  CREATE TABLE devices (mac macaddr);
  CREATE TABLE notes (id int PRIMARY KEY, note text)`;
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
let first: SignedCertificate;
let central: Central;
let databaseUrl: string;
let port: string;

beforeAll(async () => {
  server = await startTestServer();
  folder = await temporaryFolder();
  authority = await newAuthority();
  first = await newCertificate(authority);
  const { certFile, keyFile } = await writePair(folder.path, first);
  databaseUrl = (await server.createDatabase()).url;
  await queryAt(databaseUrl, SCHEMA);
  central = await startCentral({ databaseUrl, plan: PLAN, env: { TLS_CERT: certFile, TLS_KEY: keyFile } });
  port = new URL(central.url).port;
});
afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

/** What central's metric says. */
async function expiry(): Promise<number> {
  const page = await new Promise<string>((resolve, reject) => {
    get(`https://127.0.0.1:${port}/metrics`, { ca: authority.certificate }, (response) => void text(response).then(resolve, reject)).on(
      'error',
      reject,
    );
  });
  return Number(/^waypost_central_certificate_expires_timestamp_seconds\{.*\} (.*)$/m.exec(page)?.[1]);
}

const expiryOf = ({ certificate }: SignedCertificate): number => new X509Certificate(certificate).validToDate.getTime() / 1000;

test('central exports when its certificate expires, also after it was replaced', async () => {
  await until(async () => (await expiry()) === expiryOf(first));
  const second = await newCertificate(authority, { hosts: ['127.0.0.1'], days: 60 });
  await writePair(folder.path, second);
  // Nothing but the files' content tells central.
  await until(async () => (await expiry()) === expiryOf(second));
});

test('`waypost status` in central’s own environment asks it by HTTPS', async () => {
  const { json } = await waypostJson<{ service: object }>(['status', '--url', `https://127.0.0.1:${port}`], {});
  expect(json).toMatchObject({ error: { code: 'CENTRAL_UNTRUSTED' } });
  const own = { SYNC_PLAN: 'plan.yaml', PORT: port, TLS_CERT: 'server.crt', DATABASE_URL: databaseUrl };
  expect(await waypostJson(['status'], own)).toMatchObject({ code: 0, json: { service: { answers: true, healthy: true } } });
});
