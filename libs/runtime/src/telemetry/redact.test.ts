import fc from 'fast-check';
import { costOfEightfold } from '../../../../test/support/growth.js';
import { hideSecretsOf, MAX_TEXT_CHARS, redactLine, redactText } from './redact.js';

const SECRET = 'hunter2-geheim';
const redacted = (fields: object): unknown => JSON.parse(redactLine(`${JSON.stringify(fields)}\n`));

test.each([
  [{ msg: `connect to postgres://waypost:${SECRET}@db:5432/shop` }, 'postgres://waypost:[redacted]@db:5432/shop'],
  [{ msg: `postgres://waypost:p@ss:${SECRET}@db/shop?x=1` }, 'postgres://waypost:[redacted]@db/shop?x=1'],
  [{ msg: `https://:${SECRET}@seq.example/` }, 'https://:[redacted]@seq.example/'],
  [{ msg: `host=db password=${SECRET} dbname=shop` }, 'host=db password=[redacted] dbname=shop'],
  [{ msg: `host=db password='two ${SECRET}' dbname=shop` }, 'host=db password=[redacted] dbname=shop'],
  [{ msg: `/path?sslpassword=${SECRET}&x=1` }, '/path?sslpassword=[redacted]&x=1'],
  [{ msg: `Authorization: Bearer ${SECRET}, more` }, 'Authorization: Bearer [redacted], more'],
  [{ msg: `sent basic ${SECRET}` }, 'sent basic [redacted]'],
  [{ msg: `Cookie: a=b; session=${SECRET}` }, 'Cookie: [redacted]'],
  [{ msg: `{"SEQ_API_KEY":"${SECRET}"}` }, '{"SEQ_API_KEY":[redacted]}'],
  [{ url: `/api/unknown/wpk_01ARZ3NDEKTSV4RRFFQ69G5FAV_${SECRET}` }, '/api/unknown/wpk_[redacted]'],
  [{ msg: `"wpe_${SECRET}" is not a MAC address` }, 'wpe_[redacted]'],
  [{ url: `/%zzeyJhbGciOiJFZERTQSJ9.e30.${SECRET}` }, '/%zzeyJ[redacted]'],
  [{ msg: `sent eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.${SECRET}-${SECRET}` }, 'sent eyJ[redacted]'],
  [
    { msg: `-----BEGIN PRIVATE KEY-----\n${SECRET.replace('-', '')}\n-----END PRIVATE KEY-----` },
    '-----BEGIN PRIVATE KEY-----[redacted]-----END',
  ],
  [{ err: { message: 'x', cause: { input: `postgres://u:${SECRET}@h` } } }, 'postgres://u:[redacted]@h'],
])('a secret within a text is cut out: %j', (fields, rest) => {
  const text = JSON.stringify(redacted(fields));
  expect(text).toContain(JSON.stringify(rest).slice(1, -1));
  expect(text).not.toContain('geheim');
});

test.each([
  'authorization',
  'Proxy-Authorization',
  'cookie',
  'set-cookie',
  'password',
  'PGPASSWORD',
  'sslPassphrase',
  'clientSecret',
  'access_token',
  'apiKey',
  'X-Seq-ApiKey',
  'SEQ_API_KEY',
  'DATABASE_URL',
  'databaseUrl',
  'connectionString',
  'OTEL_EXPORTER_OTLP_HEADERS',
  'privateKey',
])('a member named %s is redacted, at any depth and of any shape', (name) => {
  for (const value of [SECRET, [SECRET], { inner: SECRET }]) {
    expect(redacted({ config: [{ deep: { [name]: value, other: 1 } }] })).toEqual({
      config: [{ deep: { [name]: '[redacted]', other: 1 } }],
    });
  }
});

test('secrets of the settings are cut out of every text', () => {
  const password = 'long-p@ssword-geheim';
  const token = 'a-metrics-token-geheim';
  hideSecretsOf({
    DATABASE_URL: `postgres://u:${encodeURIComponent(password)}@h/d`,
    METRICS_TOKEN: token,
    TOKEN_TTL: 600_000,
    API_TOKEN: 'short',
  });
  expect(redacted({ url: `/metrics/${token}?x=${token}`, msg: `role u has ${password}, and a short name` })).toEqual({
    url: '/metrics/[redacted]?x=[redacted]',
    msg: 'role u has [redacted], and a short name',
  });
  expect(redactText(`/${token}`)).toBe('/[redacted]');
});

test('what holds no secret stays as it is', () => {
  const fields = {
    url: 'http://127.0.0.1:8080',
    path: '/api/device-sync/manifests/01ARZ3NDEKTSV4RRFFQ69G5FAV/tables/users/chunks?mac=48%3Ab0',
    mail: 'someone@example.com wrote to https://example.com/@someone',
    tables: ['tokens', 'password_resets'],
    tokens: 5,
    database: 'postgres://reader@db/shop',
  };
  expect(redacted(fields)).toEqual(fields);
});

test('a line stays one line, and one JSON object that says the same, whatever its texts hold', () => {
  const nasty = fc.string({ unit: 'binary', maxLength: 40 });
  fc.assert(
    fc.property(fc.dictionary(nasty, nasty), (fields) => {
      fc.pre(
        !/passw|secret|token|authori|cookie|key|credential|connection|headers|url|basic|bearer|wp[ek]_|eyj|:\/\//i.test(
          JSON.stringify(fields),
        ),
      );
      const line = redactLine(`${JSON.stringify(fields)}\n`);
      expect(line.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/);
      expect(line.endsWith('\n')).toBe(true);
      expect(JSON.parse(line)).toEqual(fields);
    }),
    { seed: 4, numRuns: 300 },
  );
});

test.each([
  '://',
  'password=',
  'a://b:',
  'eyJ',
  'eyJ.',
  'wpe_',
  '-----BEGIN PRIVATE KEY-----',
  'a.',
  'a-',
  'cookie: ',
  'basic ',
  "password='",
  `token="`,
  'authorization: ',
  'authorization:\t',
  '\t',
  "'",
])('a line full of %j costs in proportion to its length', (unit) => {
  expect(costOfEightfold(unit, (text) => redactLine(`${JSON.stringify({ msg: `token basic a://b: ${text}` })}\n`))).toBeLessThan(24);
});

test('of a text that does not end, its beginning is logged, and how much is missing; a secret at the cut is cut out first', () => {
  const before = 'x'.repeat(MAX_TEXT_CHARS - 30);
  const { msg } = redacted({ msg: `${before} postgres://waypost:${SECRET}${'y'.repeat(5000)}@db/shop ${'z'.repeat(90_000)}` }) as {
    msg: string;
  };
  expect(msg).toMatch(/^x+ postgres:\/\/waypost:\[.*… \(\d+ more characters\)$/);
  expect(msg.length).toBeLessThan(MAX_TEXT_CHARS + 50);
  expect(msg).not.toContain('geheim');
});
