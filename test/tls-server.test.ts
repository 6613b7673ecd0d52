import 'reflect-metadata';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { type AddressInfo, connect as connectPlain } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { connect, type ConnectionOptions, type Server, type TLSSocket } from 'node:tls';
import { Controller, Get, Module } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { httpLogging, CertificateReloader, LOGGER, readKeyPair, type TlsFiles } from '@waypost/runtime';
import { createHttpApp, listen } from '@waypost/runtime/service';
import { LoggerModule } from 'nestjs-pino';
import pino from 'pino';
import { newAuthority, newCertificate, type SignedCertificate, writePair } from './support/certificates.js';
import { temporaryFolder, type TemporaryFolder } from './support/temporary-folder.js';

@Controller()
class Greeter {
  @Get()
  greet(): string {
    return 'hello';
  }
}

const silent = pino({ enabled: false });

@Module({
  imports: [LoggerModule.forRoot(httpLogging(silent))],
  controllers: [Greeter],
  providers: [{ provide: LOGGER, useValue: silent }],
})
class Service {}

const LIMITS = { maxBodyBytes: 1024, requestTimeoutMs: 60_000, stallTimeoutMs: 60_000 };

let folder: TemporaryFolder;
let authority: SignedCertificate;
let first: SignedCertificate;
let files: TlsFiles;
let app: NestFastifyApplication;
let url: string;
let port: number;

beforeAll(async () => {
  authority = await newAuthority();
});
beforeEach(async () => {
  folder = await temporaryFolder();
  first = await newCertificate(authority);
  files = await writePair(folder.path, first);
  app = await createHttpApp(Service, { ...LIMITS, tls: files });
  url = await listen(app, 0, '127.0.0.1');
  port = (server().address() as AddressInfo).port;
});
afterEach(async () => {
  await app.close();
  await folder[Symbol.asyncDispose]();
});

const server = (): Server => app.getHttpServer() as unknown as Server;

/** The certificate that a new connection gets. */
async function certificateNow(): Promise<string> {
  const socket = await handshake();
  const { serialNumber } = socket.getPeerX509Certificate() as X509Certificate;
  socket.destroy();
  return serialNumber;
}

const serialOf = ({ certificate }: SignedCertificate): string => new X509Certificate(certificate).serialNumber;

async function handshake(options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ port, host: '127.0.0.1', ca: authority.certificate, ...options });
  await once(socket, 'secureConnect');
  return socket;
}

async function get(agent: Agent): Promise<{ body: string; isReused: boolean }> {
  const sent = request(url, { agent, ca: authority.certificate }).end();
  const [response] = (await once(sent, 'response')) as [NodeJS.ReadableStream];
  return { body: await text(response as never), isReused: sent.reusedSocket };
}

/** A reloader with what it logs. */
function newReloader(): { check: () => Promise<void>; log: { level: number; msg: string; expiresAt?: string; err?: { hint?: string } }[] } {
  const log: never[] = [];
  const logger = pino({}, { write: (line) => void log.push(JSON.parse(line) as never) });
  const reloader = new CertificateReloader(files, logger);
  return { check: () => reloader.check(server()), log };
}

test('answers HTTPS, and says so', async () => {
  using agent = disposable(new Agent());
  expect(url).toBe(`https://127.0.0.1:${port}`);
  expect((await get(agent)).body).toBe('hello');
});

const disposable = (agent: Agent): Agent & Disposable => Object.assign(agent, { [Symbol.dispose]: () => agent.destroy() });

test.each<[string, ConnectionOptions]>([
  ['TLS 1.1', { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' }],
  ['a CBC cipher', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA' }],
])('refuses %s', async (_, options) => {
  await expect(handshake(options)).rejects.toMatchObject({ code: expect.stringMatching(/PROTOCOL_VERSION|HANDSHAKE_FAILURE/) as string });
});

test.each<[string, ConnectionOptions]>([
  ['TLS 1.3', { minVersion: 'TLSv1.3' }],
  ['TLS 1.2 with GCM', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }],
  ['TLS 1.2 with ChaCha20', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-CHACHA20-POLY1305' }],
])('speaks %s', async (_, options) => {
  const socket = await handshake(options);
  expect(socket.authorized).toBe(true);
  socket.destroy();
});

test('plain HTTP is not answered, and harms nobody', async () => {
  const socket = connectPlain(port, '127.0.0.1').on('error', () => undefined);
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
  expect(await text(socket).catch(() => '')).not.toContain('HTTP/1.1');
  expect(await certificateNow()).toBe(serialOf(first));
});

test('a certificate that replaces another is served to new connections, and open ones go on', async () => {
  using agent = disposable(new Agent({ keepAlive: true, maxSockets: 1 }));
  const { check, log } = newReloader();
  expect(await get(agent)).toEqual({ body: 'hello', isReused: false });
  const second = await newCertificate(authority);
  await writePair(folder.path, second);
  expect(await certificateNow()).toBe(serialOf(first));
  await check();
  expect(await get(agent)).toEqual({ body: 'hello', isReused: true });
  expect(await certificateNow()).toBe(serialOf(second));
  const { validToDate } = new X509Certificate(second.certificate);
  expect(log).toEqual([expect.objectContaining({ msg: 'certificate is served', expiresAt: validToDate.toISOString() })]);
});

test('what changes behind a symbolic link is noticed, as Kubernetes and certbot replace files', async () => {
  const pairs = [first, await newCertificate(authority)];
  for (const [at, pair] of pairs.entries()) {
    await mkdir(join(folder.path, `pair-${at}`));
    await writePair(join(folder.path, `pair-${at}`), pair);
  }
  await symlink('pair-0', join(folder.path, 'current'));
  files = { certFile: join(folder.path, 'current/server.crt'), keyFile: join(folder.path, 'current/server.key') };
  const { check } = newReloader();
  await check();
  expect(await certificateNow()).toBe(serialOf(first));
  await symlink('pair-1', join(folder.path, 'next'));
  await rename(join(folder.path, 'next'), join(folder.path, 'current'));
  await check();
  expect(await certificateNow()).toBe(serialOf(pairs[1]!));
});

test('unchanged files are served on, without a word', async () => {
  const { check, log } = newReloader();
  for (let times = 0; times < 3; times++) await check();
  expect(log).toHaveLength(1);
});

test.each<[string, (second: SignedCertificate) => Promise<unknown>]>([
  ['a key of another certificate', ({ key }) => writeFile(files.keyFile, key)],
  ['a certificate that is cut', ({ certificate }) => writeFile(files.certFile, certificate.slice(0, 300))],
  ['a chain that is cut', ({ certificate }) => writeFile(files.certFile, certificate.slice(0, -100))],
  ['a key that others may read', () => chmod(files.keyFile, 0o644)],
  ['no key', () => rename(files.keyFile, `${files.keyFile}.gone`)],
])('%s keeps the pair before, with one warning; a good pair is served again', async (_, spoil) => {
  const { check, log } = newReloader();
  await check();
  await spoil(await newCertificate(authority));
  for (let times = 0; times < 4; times++) await check();
  expect(await certificateNow()).toBe(serialOf(first));
  expect(log.filter(({ level }) => level >= 40)).toEqual([
    expect.objectContaining({
      msg: 'new certificate cannot be served, the one before is',
      err: expect.objectContaining({ hint: expect.stringMatching(/\S/) as string }) as object,
    }),
  ]);
  const third = await newCertificate(authority);
  await writePair(folder.path, third);
  await check();
  expect(await certificateNow()).toBe(serialOf(third));
});

test('a pair whose files are replaced one after the other is no fault', async () => {
  const { check, log } = newReloader();
  await check();
  const second = await newCertificate(authority);
  await writeFile(files.keyFile, second.key);
  await check();
  await writeFile(files.certFile, second.certificate);
  await check();
  expect(await certificateNow()).toBe(serialOf(second));
  expect(log.map(({ msg }) => msg)).toEqual(['certificate is served', 'certificate is served']);
});

test('a certificate that has expired is served with a warning, once a day', async () => {
  await writePair(folder.path, await newCertificate(authority, { expired: true }));
  const { check, log } = newReloader();
  for (let times = 0; times < 3; times++) await check();
  expect(log.map(({ msg }) => msg)).toEqual(['certificate is served', 'certificate expires soon, or has expired']);
});

test.each<[string, RegExp, (paths: TlsFiles) => Promise<unknown>]>([
  ['no certificate', /^TLS_CERT: .*server\.crt cannot be read \(ENOENT\)/, ({ certFile }) => rename(certFile, `${certFile}.gone`)],
  ['no key', /^TLS_KEY: .*server\.key cannot be read \(ENOENT\)/, ({ keyFile }) => rename(keyFile, `${keyFile}.gone`)],
  ['a certificate that is none', /^TLS_CERT: .* is not a certificate in PEM/, ({ certFile }) => writeFile(certFile, 'x')],
  ['a key that is none', /^TLS_KEY: .* is not a private key in PEM/, ({ keyFile }) => writeFile(keyFile, 'x')],
  ['a key that others may read', /^TLS_KEY: every user .* \(mode 604\)/, ({ keyFile }) => chmod(keyFile, 0o604)],
  [
    'another certificate’s key',
    /^TLS_KEY: .* is not the key of the certificate/,
    async ({ keyFile }) => writeFile(keyFile, (await newCertificate(authority)).key),
  ],
])('%s is a clear error at start', async (_, detail, spoil) => {
  await spoil(files);
  await expect(createHttpApp(Service, { ...LIMITS, tls: files })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    detail: expect.stringMatching(detail) as string,
    hint: expect.stringMatching(/\S/) as string,
  });
});

test('a key that a group may read is served, as Kubernetes mounts secrets', async () => {
  await chmod(files.keyFile, 0o440);
  expect((await readKeyPair(files)).certificate.serialNumber).toBe(serialOf(first));
});
