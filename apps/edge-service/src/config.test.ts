import { readEdgeConfig } from './config.js';

const GOOD = { DATABASE_URL: 'postgres://u:p@localhost/edge', CENTRAL_URL: 'https://central:8080/', DEVICE_MAC: '48-B0-2D-E9-C3-B7' };

test('the defaults are the documented ones', () => {
  expect(readEdgeConfig(GOOD)).toEqual({
    ADOPT_TABLES: new Set(),
    SCHEMA_MODE: 'managed',
    SIDE_EFFECT_TABLES: new Set(),
    PORT: 8081,
    HOST: '127.0.0.1',
    AUDIT_RETENTION: 30 * 86_400_000,
    DATABASE_URL: GOOD.DATABASE_URL,
    CENTRAL_URL: 'https://central:8080',
    ALLOW_INSECURE: false,
    DEVICE_MAC: '48:b0:2d:e9:c3:b7',
    SYNC_INTERVAL: 300_000,
    SCRUB_INTERVAL: 86_400_000,
    SCHEMA_VERSION: 1,
    IDENTITY_DIR: './var/identity',
    LOAD_STRATEGY: 'auto',
    DOWNLOAD_DIR: './var/downloads',
    LOG_LEVEL: 'info',
    MIN_FREE_DISK: 64 << 20,
    OTEL_TRACES_SAMPLER: 'parentbased_always_on',
    OTEL_TRACES_SAMPLER_ARG: 1,
    LOCK_TIMEOUT: 2000,
    STALL_TIMEOUT: 30_000,
    DOWNLOAD_DEADLINE: 21_600_000,
    REQUEST_TIMEOUT: 600_000,
  });
});

test('all faults are listed at once, without any value', () => {
  const env = {
    DATABASE_URL: 'mysql://root:secret@db',
    DEVICE_MAC: 'nonsense',
    SYNC_INTERVAL: '10ms',
    LOAD_STRATEGY: 'swap',
    PORT: '99999',
  };
  let message = '';
  try {
    readEdgeConfig(env);
  } catch (error) {
    message = (error as Error).message;
  }
  for (const name of [...Object.keys(env), 'CENTRAL_URL']) expect(message).toContain(name);
  expect(message).toContain('must be auto, truncate or merge');
  expect(message).not.toMatch(/secret|nonsense|99999/);
});

test('SYNC_INTERVAL=0 means: on demand only', () => {
  expect(readEdgeConfig({ ...GOOD, SYNC_INTERVAL: '0' }).SYNC_INTERVAL).toBe(0);
});

const HEX = 'AB'.repeat(32);

test.each([HEX, HEX.toLowerCase(), HEX.replace(/..(?!$)/g, '$&:')])('CENTRAL_FINGERPRINT=%s is read with or without colons', (text) => {
  expect(readEdgeConfig({ ...GOOD, CENTRAL_FINGERPRINT: text }).CENTRAL_FINGERPRINT).toBe(HEX.toLowerCase());
});

test.each(['http://127.0.0.1:8080', 'http://127.1:8080', 'http://localhost:8080', 'http://central.localhost', 'http://[::1]:8080'])(
  'plain HTTP within this machine is allowed: %s',
  (url) => expect(readEdgeConfig({ ...GOOD, CENTRAL_URL: url }).CENTRAL_URL).toMatch(/^http:/),
);

test.each(['http://central:8080', 'http://10.0.0.1', 'http://127.0.0.1.example', 'http://localhost.example', 'http://[2001:db8::1]:8080'])(
  'plain HTTP to another machine needs ALLOW_INSECURE=true: %s',
  (url) => {
    expect(() => readEdgeConfig({ ...GOOD, CENTRAL_URL: url })).toThrow(
      /^CENTRAL_URL is plain HTTP to another machine: .*ALLOW_INSECURE=true/,
    );
    expect(() => readEdgeConfig({ ...GOOD, CENTRAL_URL: url, ALLOW_INSECURE: 'false' })).toThrow('CENTRAL_URL is plain HTTP');
    expect(readEdgeConfig({ ...GOOD, CENTRAL_URL: url, ALLOW_INSECURE: 'true' }).ALLOW_INSECURE).toBe(true);
  },
);

test.each<[string, Record<string, string>]>([
  ['CENTRAL_FINGERPRINT must be a SHA-256 fingerprint', { CENTRAL_FINGERPRINT: 'ab:cd' }],
  ['ALLOW_INSECURE must be true or false', { ALLOW_INSECURE: 'yes' }],
  ['CENTRAL_FINGERPRINT stands beside CENTRAL_CA', { CENTRAL_FINGERPRINT: HEX, CENTRAL_CA: 'ca.crt' }],
  ['CENTRAL_CA needs an https:// CENTRAL_URL', { CENTRAL_CA: 'ca.crt', CENTRAL_URL: 'http://127.0.0.1' }],
  ['CENTRAL_FINGERPRINT needs an https:// CENTRAL_URL', { CENTRAL_FINGERPRINT: HEX, CENTRAL_URL: 'http://127.0.0.1' }],
])('%s', (message, env) => {
  expect(() => readEdgeConfig({ ...GOOD, ...env })).toThrow(message);
  expect(() => readEdgeConfig({ ...GOOD, ...env, PORT: 'x' })).toThrow('PORT');
});
