import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Server, type ServerOptions } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TLS_POLICY } from '@waypost/runtime';
import pino from 'pino';
import { CentralAccess } from '../apps/edge-service/src/central/access.js';
import { CentralClient } from '../apps/edge-service/src/central/central-client.js';
import { LastCheckpoint } from '../apps/edge-service/src/central/last-checkpoint.js';
import { CentralHttp } from '../apps/edge-service/src/central/central-http.js';
import { DEFAULT_CIRCUIT_LIMITS } from '../apps/edge-service/src/central/central-options.js';
import type { CentralTrust } from '../apps/edge-service/src/central/connect-to-central.js';
import { IdentityFiles } from '../apps/edge-service/src/identity/identity-files.js';
import { DownloadDisk } from '../apps/edge-service/src/metrics/download-disk.js';
import { Metrics } from '../apps/edge-service/src/metrics/metrics.js';
import { newAuthority, newCertificate, type SignedCertificate } from './support/certificates.js';
import { temporaryFolder, type TemporaryFolder } from './support/temporary-folder.js';

/** Whom an edge's client takes for central, at real servers. */

const MANIFEST = { manifestId: '01JZ0000000000000000000000' };

let folder: TemporaryFolder;
let authority: SignedCertificate;
let other: SignedCertificate;
let caFile: string;

beforeAll(async () => {
  folder = await temporaryFolder();
  [authority, other] = [await newAuthority('right'), await newAuthority('other')];
  caFile = join(folder.path, 'ca.crt');
  await writeFile(caFile, authority.certificate);
});
afterAll(() => folder[Symbol.asyncDispose]());

/** Bodies that arrived: none may where central is not trusted. */
let received: string[] = [];
beforeEach(() => {
  received = [];
});

function central({ certificate, key }: SignedCertificate, options: ServerOptions = {}): Server {
  const server = createServer({ cert: certificate, key, ...TLS_POLICY, ...options }, (request, response) => {
    request.setEncoding('utf8').on('data', (part: string) => received.push(part));
    request.on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ manifest: MANIFEST })));
  });
  return server.on('tlsClientError', () => undefined);
}

/** Asks a server for a manifest, so many times in a row, as one client of it. */
async function ask(server: TcpServer, trust: CentralTrust, { host = '127.0.0.1', scheme = 'https', times = 1 } = {}): Promise<unknown> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => void sockets.add(socket));
  if (!server.listening) await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = `${scheme}://${host}:${(server.address() as AddressInfo).port}`;
  const limits = { requestTimeoutMs: 60_000, stallTimeoutMs: 60_000, circuit: DEFAULT_CIRCUIT_LIMITS };
  const metricsOptions = { downloadFolder: tmpdir(), syncIntervalMs: 0 };
  const metrics = new Metrics(metricsOptions, new DownloadDisk(metricsOptions));
  const logger = pino({ enabled: false });
  const options = { url, trust, deviceMac: '02:00:00:00:00:01', ...limits };
  const http = new CentralHttp(options, logger);
  const identity = { folder: '/nonexistent', enrollmentToken: undefined, deviceMac: options.deviceMac, mayReplaceKey: true };
  const client = new CentralClient(
    options,
    http,
    new CentralAccess(http, new IdentityFiles(identity.folder), identity, logger),
    metrics,
    new LastCheckpoint(),
  );
  try {
    let manifest: unknown;
    for (let done = 0; done < times; done++) {
      ({ manifest } = await client.requestManifest(undefined, false, new AbortController().signal));
      for (const socket of sockets) socket.destroy();
    }
    return manifest;
  } finally {
    await http.onApplicationShutdown();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
}

const fingerprintOf = ({ certificate }: SignedCertificate): string =>
  new X509Certificate(certificate).fingerprint256.replaceAll(':', '').toLowerCase();

async function mustBeRefused(asked: Promise<unknown>, hint: string, detail = ''): Promise<void> {
  await expect(asked).rejects.toMatchObject({
    code: 'CENTRAL_UNTRUSTED',
    heals: 'operator',
    detail: expect.stringContaining(detail) as string,
    hint: expect.stringContaining(hint) as string,
  });
  expect(received).toEqual([]);
}

test.each(['127.0.0.1', 'localhost'])('central with a certificate of CENTRAL_CA for %s is asked', async (host) => {
  expect(await ask(central(await newCertificate(authority)), { caFile }, { host, times: 3 })).toEqual(MANIFEST);
});

test('a certificate of another authority is refused, with the variables that help', async () => {
  const server = central(await newCertificate(other));
  await mustBeRefused(ask(server, { caFile }), 'CENTRAL_CA');
});

test('a private authority is refused without CENTRAL_CA: it is none of the system’s', async () => {
  await mustBeRefused(ask(central(await newCertificate(authority)), {}), 'CENTRAL_FINGERPRINT');
});

test('an expired certificate is refused, with how to renew it and the clock', async () => {
  const server = central(await newCertificate(authority, { expired: true }));
  await mustBeRefused(ask(server, { caFile }), 'waypost certs renew', 'expired');
});

test.each([
  ['another name', ['central.example']],
  ['another address', ['127.0.0.2']],
])('a certificate for %s is refused, with how to make one', async (_, hosts) => {
  const server = central(await newCertificate(authority, { hosts }));
  await mustBeRefused(ask(server, { caFile }), 'waypost certs server --host', 'not for the host');
});

test.each<[string, ServerOptions]>([
  ['TLS 1.1', { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' }],
  ['a CBC cipher', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA' }],
])('a server that offers only %s is refused, pinned or not', async (_, options) => {
  const pair = await newCertificate(authority);
  await mustBeRefused(ask(central(pair, options), { caFile }), 'CENTRAL_URL', 'authenticated encryption');
  await mustBeRefused(ask(central(pair, options), { fingerprint: fingerprintOf(pair) }), 'CENTRAL_URL');
});

test('a server that speaks plain HTTP at an https:// address is refused', async () => {
  await mustBeRefused(ask(createHttpServer(), { caFile }), 'TLS_CERT', 'does not speak TLS');
});

test('a connection that breaks during the handshake is a failure of the network, not of trust', async () => {
  const server = createTcpServer((socket) => void socket.on('error', () => undefined).once('data', () => socket.destroy()));
  await expect(ask(server, { caFile })).rejects.toMatchObject({ code: 'CENTRAL_UNREACHABLE', heals: 'retry' });
});

test.each([
  ['of an unknown authority', async () => newCertificate(other)],
  ['that has expired', async () => newCertificate(authority, { expired: true })],
  ['for another name', async () => newCertificate(authority, { hosts: ['central.example'] })],
])('the pinned certificate counts alone, also one %s', async (_, make) => {
  const pair = await make();
  expect(await ask(central(pair), { fingerprint: fingerprintOf(pair) }, { times: 3 })).toEqual(MANIFEST);
});

test('another certificate than the pinned one is refused, with its fingerprint', async () => {
  const pair = await newCertificate(authority);
  const pinned = { fingerprint: fingerprintOf(await newCertificate(authority)) };
  await mustBeRefused(ask(central(pair), pinned), 'CENTRAL_FINGERPRINT', new X509Certificate(pair.certificate).fingerprint256);
});

test('a certificate of the pinned authority is taken, and so is the one after it', async () => {
  const server = central(await newCertificate(authority));
  const pinned = { fingerprint: fingerprintOf(authority) };
  const renewed = await newCertificate(authority);
  server.once('request', () => server.setSecureContext({ cert: renewed.certificate, key: renewed.key, ...TLS_POLICY }));
  expect(await ask(server, pinned, { times: 3 })).toEqual(MANIFEST);
});

test('under a pinned authority name and date still count', async () => {
  const pinned = { fingerprint: fingerprintOf(authority) };
  await mustBeRefused(ask(central(await newCertificate(authority, { hosts: ['a.example'] })), pinned), '--host', 'not for the host');
  await mustBeRefused(ask(central(await newCertificate(authority, { expired: true })), pinned), 'renew', 'expired');
});

test('sending the pinned authority’s certificate along proves nothing', async () => {
  // Of the same name, so that it looks like its issuer.
  const forger = await newAuthority('right');
  const forged = await newCertificate(forger);
  const [own] = forged.certificate.split(/(?<=-----END CERTIFICATE-----\n)/);
  const server = central({ certificate: own! + authority.certificate, key: forged.key });
  await mustBeRefused(ask(server, { fingerprint: fingerprintOf(authority) }), 'CENTRAL_FINGERPRINT');
});

test('a pinned authority that is gone from the chain later is refused then', async () => {
  const server = central(await newCertificate(authority));
  const intruder = await newCertificate(other);
  server.once('request', () => server.setSecureContext({ cert: intruder.certificate, key: intruder.key, ...TLS_POLICY }));
  await expect(ask(server, { fingerprint: fingerprintOf(authority) }, { times: 2 })).rejects.toMatchObject({ code: 'CENTRAL_UNTRUSTED' });
});

test.each([
  ['is not there', 'nowhere.crt', undefined],
  ['is no certificate', 'rubbish.crt', 'rubbish'],
])('a CENTRAL_CA that %s is a clear error at start', async (_, name, text) => {
  const file = join(folder.path, name);
  if (text !== undefined) await writeFile(file, text);
  await expect(ask(createTcpServer(), { caFile: file })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    detail: expect.stringMatching(/^CENTRAL_CA: /) as string,
  });
});
