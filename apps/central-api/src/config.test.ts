import { readCentralConfig, tlsFilesOf } from './config.js';

const read = (more: Record<string, string>) => readCentralConfig({ DATABASE_URL: 'postgres://a@b/c', SYNC_PLAN: 'plan.yaml', ...more });

test('what can be off is off, or has a value with a unit', () => {
  expect(read({})).toMatchObject({ CANARY_INTERVAL: 3_600_000, SHADOW_READS: 1000 });
  expect(read({ CANARY_INTERVAL: 'off', SHADOW_READS: 'off' })).toMatchObject({ CANARY_INTERVAL: 0, SHADOW_READS: 0 });
  expect(read({ CANARY_INTERVAL: '30m', SHADOW_READS: '1' })).toMatchObject({ CANARY_INTERVAL: 1_800_000, SHADOW_READS: 1 });
});

test.each([
  ['CANARY_INTERVAL', 'nonsense', 'must be off or a duration'],
  ['CANARY_INTERVAL', '0s', 'must be off or at least 1s'],
  ['SHADOW_READS', 'nonsense', 'must be off or a whole number'],
  ['SHADOW_READS', '0', 'SHADOW_READS'],
  ['FAILED_ATTEMPTS_LIMIT', '0', 'FAILED_ATTEMPTS_LIMIT must be at least 1'],
  ['TRUST_PROXY', 'true', 'TRUST_PROXY must be addresses and networks'],
])('%s=%s is refused with what it must be', (name, value, message) => {
  expect(() => read({ [name]: value })).toThrow(message);
});

test('a certificate without its key, or a key without its certificate, is refused beside other faults', () => {
  const both = { TLS_CERT: 'server.crt', TLS_KEY: 'server.key' };
  expect(tlsFilesOf(read({}))).toBeUndefined();
  expect(tlsFilesOf(read(both))).toEqual({ certFile: 'server.crt', keyFile: 'server.key', asksForCertificates: false });
  expect(tlsFilesOf(read({ ...both, TLS_CLIENT_AUTH: 'optional' }))).toMatchObject({ asksForCertificates: true });
  expect(() => read({ TLS_CERT: 'server.crt' })).toThrow('TLS_KEY is not set: set TLS_CERT and TLS_KEY both, or neither');
  expect(() => readCentralConfig({ TLS_KEY: 'server.key', PORT: 'x' })).toThrow(/SYNC_PLAN is not set.*PORT .*TLS_CERT is not set/);
  expect(() => read({ TLS_CLIENT_AUTH: 'optional' })).toThrow('TLS_CLIENT_AUTH needs TLS_CERT and TLS_KEY');
  expect(() => read({ ...both, TLS_CLIENT_AUTH: 'require', AUTH: 'mac' })).toThrow('TLS_CLIENT_AUTH is require, but AUTH=mac');
});
