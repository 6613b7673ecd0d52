import { createPrivateKey, X509Certificate } from 'node:crypto';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readKeyPair } from '@waypost/runtime';
import { temporaryFolder, type TemporaryFolder } from './support/temporary-folder.js';
import { waypost, waypostJson } from './support/waypost.js';

interface Made {
  authority: { file: string; fingerprint: string; expiresAt: string; subject: string };
  server: { file: string; keyFile: string; fingerprint: string; expiresAt: string; hosts: string[] } | null;
}

let folder: TemporaryFolder;
let dir: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  dir = join(folder.path, 'certificates');
});
afterEach(() => folder[Symbol.asyncDispose]());

const certs = (...args: string[]) => waypostJson<Made>(['certs', args[0]!, '--dir', dir, ...args.slice(1)]);
const read = (name: string): Promise<string> => readFile(join(dir, name), 'utf8');
const modeOf = async (name: string): Promise<number> => (await stat(join(dir, name))).mode & 0o777;
const certificateIn = async (name: string): Promise<X509Certificate> => new X509Certificate(await read(name));

test('an authority, a certificate and its renewal are made without a database; keys are their owner’s alone', async () => {
  const init = await certs('init', '--name', 'Example fleet');
  const authority = await certificateIn('ca.crt');
  expect(init).toMatchObject({
    code: 0,
    json: { authority: { subject: 'CN=Example fleet', fingerprint: authority.fingerprint256 }, server: null },
  });

  const made = await certs('server', '--host', 'central.example', '192.0.2.7', '--host', '::1', '--days', '30');
  const before = await certificateIn('server.crt');
  expect(made.json.server).toMatchObject({
    hosts: ['central.example', '192.0.2.7', '::1'],
    fingerprint: before.fingerprint256,
    expiresAt: before.validToDate.toISOString(),
  });
  expect(before.verify(authority.publicKey)).toBe(true);
  expect(before.checkHost('central.example')).toBe('central.example');
  const { certificate } = await readKeyPair({ certFile: made.json.server!.file, keyFile: made.json.server!.keyFile });
  expect(certificate.serialNumber).toBe(before.serialNumber);

  const key = await read('server.key');
  const renewed = await certs('renew');
  const after = await certificateIn('server.crt');
  expect(renewed.json.server?.hosts).toEqual(made.json.server?.hosts);
  expect(after.subjectAltName).toBe(before.subjectAltName);
  expect(after.validToDate.getTime()).toBeGreaterThan(before.validToDate.getTime());
  expect(after.serialNumber).not.toBe(before.serialNumber);
  expect(await read('server.key')).toBe(key);
  expect(after.checkPrivateKey(createPrivateKey(key))).toBe(true);

  expect([await modeOf('ca.key'), await modeOf('server.key')]).toEqual([0o600, 0o600]);
  expect([await modeOf('ca.crt'), await modeOf('server.crt')]).toEqual([0o644, 0o644]);
});

test('people get the fingerprint and what to set next', async () => {
  await certs('init');
  const { code, out, err } = await waypost(['certs', 'server', '--dir', dir, '--host', 'localhost']);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toContain(`CENTRAL_FINGERPRINT=${(await certificateIn('ca.crt')).fingerprint256}`);
  expect(out).toContain(`TLS_CERT=${join(dir, 'server.crt')} TLS_KEY=${join(dir, 'server.key')}`);
});

test('an authority is replaced with --force alone', async () => {
  await certs('init');
  const before = await read('ca.key');
  expect(await certs('init')).toMatchObject({
    code: 2,
    json: { error: { code: 'CONFIG_INVALID', hint: expect.stringContaining('--force') as string } },
  });
  expect(await read('ca.key')).toBe(before);
  expect(await certs('init', '--force')).toMatchObject({ code: 0 });
  expect(await read('ca.key')).not.toBe(before);
  expect(await modeOf('ca.key')).toBe(0o600);
});

test.each<[string, string[], string]>([
  ['a server without an authority', ['server', '--host', 'localhost'], 'certs init'],
  ['a renewal without a certificate', ['renew'], 'certs init'],
  ['no host', ['server'], '--host'],
  ['a host that is none', ['server', '--host', 'https://central.example'], 'CENTRAL_URL'],
  ['days that are none', ['init', '--days', '0'], '--days 90'],
])('%s is wrong usage, with what to do', async (_, args, hint) => {
  expect(await certs(...args)).toMatchObject({
    code: 2,
    json: { error: { code: 'CONFIG_INVALID', hint: expect.stringContaining(hint) as string } },
  });
});

test('a damaged authority is told apart from a missing one', async () => {
  await certs('init');
  await writeFile(join(dir, 'ca.key'), 'nonsense');
  await chmod(join(dir, 'ca.key'), 0o600);
  expect(await certs('server', '--host', 'localhost')).toMatchObject({
    code: 2,
    json: { error: { detail: expect.stringContaining('ca.key is not a private key') as string } },
  });
});
