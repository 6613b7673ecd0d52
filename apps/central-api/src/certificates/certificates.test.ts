import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createAuthority } from './create-authority.js';
import { parseHostName } from './host-name.js';
import { issueServerCertificate } from './issue-server-certificate.js';
import type { SignedCertificate } from './signed-certificate.js';

const DAY_MS = 86_400_000;
const HOSTS = ['Central.Example', '192.0.2.7', '[2001:db8::7]', '*.sites.example'].map(parseHostName);

let authority: SignedCertificate;
beforeAll(async () => {
  authority = await createAuthority({ name: 'Waypost CA', days: 3650 });
});

const read = ({ certificate }: SignedCertificate): X509Certificate => new X509Certificate(certificate);
const daysOf = (certificate: X509Certificate): number => (certificate.validToDate.getTime() - Date.now()) / DAY_MS;

test('an authority signed itself, with an ECDSA P-256 key, and may sign others', () => {
  const certificate = read(authority);
  expect(certificate.subject).toBe('CN=Waypost CA');
  expect(certificate.ca).toBe(true);
  expect(certificate.verify(certificate.publicKey)).toBe(true);
  expect(certificate.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
  expect(Math.round(daysOf(certificate))).toBe(3650);
});

test('a server certificate is signed by the authority, and is for its hosts, for servers and for its days', async () => {
  const certificate = read(await issueServerCertificate({ authority, hosts: HOSTS, days: 30 }));
  expect(certificate.checkIssued(read(authority))).toBe(true);
  expect(certificate.verify(read(authority).publicKey)).toBe(true);
  expect(certificate.ca).toBe(false);
  expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']);
  expect(certificate.checkHost('central.example')).toBe('central.example');
  expect(certificate.checkHost('shop.sites.example')).toBe('*.sites.example');
  expect(certificate.checkIP('192.0.2.7')).toBe('192.0.2.7');
  expect(certificate.checkIP('2001:db8::7')).toBe('2001:db8::7');
  expect(certificate.checkHost('other.example')).toBeUndefined();
  expect(Math.round(daysOf(certificate))).toBe(30);
  expect(certificate.validFromDate.getTime()).toBeLessThan(Date.now() - DAY_MS / 2);
});

test('the authority’s certificate follows, and the key belongs to the first', async () => {
  const { certificate, key } = await issueServerCertificate({ authority, hosts: HOSTS, days: 30 });
  expect(certificate.endsWith(authority.certificate)).toBe(true);
  expect(new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key))).toBe(true);
});

test('a key that is given is kept', async () => {
  const first = await issueServerCertificate({ authority, hosts: HOSTS, days: 1 });
  const second = await issueServerCertificate({ authority, hosts: HOSTS, days: 30, key: first.key });
  expect(second.key).toBe(first.key);
  expect(read(second).publicKey.equals(read(first).publicKey)).toBe(true);
  expect(read(second).serialNumber).not.toBe(read(first).serialNumber);
});

test('a certificate expires no later than its authority', async () => {
  const short = await createAuthority({ name: 'short', days: 10 });
  const certificate = read(await issueServerCertificate({ authority: short, hosts: HOSTS, days: 365 }));
  expect(certificate.validToDate).toEqual(read(short).validToDate);
});

test('an authority that has expired, or whose key is another one’s, signs nothing', async () => {
  const expired = await createAuthority({ name: 'old', days: 1, now: new Date(Date.now() - 2 * DAY_MS) });
  await expect(issueServerCertificate({ authority: expired, hosts: HOSTS, days: 1 })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    hint: expect.stringContaining('waypost certs init --force') as string,
  });
  const mixed = { ...authority, key: expired.key };
  await expect(issueServerCertificate({ authority: mixed, hosts: HOSTS, days: 1 })).rejects.toThrow('ca.key is not the key of ca.crt');
  const broken = { ...authority, key: 'nonsense' };
  await expect(issueServerCertificate({ authority: broken, hosts: HOSTS, days: 1 })).rejects.toThrow('ca.key is not a private key');
});

test.each(['', 'https://central.example', 'central.example:8080', 'a b', '192.0.2.300', '-', 'ä.example', 'a..b', '*'])(
  '%j is no host',
  (text) => expect(() => parseHostName(text)).toThrow('neither a host name nor an IP address'),
);
