import { z } from 'zod';
import { databaseUrl, durationMs, httpUrl, integer, logLevel, networks, portNumber, readConfig, retentionMs } from './config.js';

const schema = z.object({
  DATABASE_URL: databaseUrl,
  CENTRAL_URL: httpUrl,
  PORT: portNumber.prefault('8080'),
  SYNC_INTERVAL: durationMs.prefault('5m'),
  WORKERS: integer(1, 8).default(2),
  LOG_LEVEL: logLevel.default('info'),
});
const good = { DATABASE_URL: 'postgres://me:s3cret@db/x', CENTRAL_URL: 'https://central/' };

test('defaults fill in what is not set, or set to nothing; other variables are left alone', () => {
  expect(readConfig(schema, { ...good, PORT: '', WORKERS: '', PATH: '/bin' })).toEqual({
    DATABASE_URL: 'postgres://me:s3cret@db/x',
    CENTRAL_URL: 'https://central',
    PORT: 8080,
    SYNC_INTERVAL: 300_000,
    WORKERS: 2,
    LOG_LEVEL: 'info',
  });
});

test('every fault is named at once', () => {
  const env = { DATABASE_URL: 'mysql://me:s3cret@db', PORT: '70000', SYNC_INTERVAL: 'soon', WORKERS: '2.5', LOG_LEVEL: 'loud' };
  const invalid = expect.objectContaining({ code: 'CONFIG_INVALID' }) as Error;
  expect(() => readConfig(schema, env)).toThrow(invalid);
  for (const name of [
    'DATABASE_URL',
    'CENTRAL_URL is not set',
    'PORT must be at most',
    'SYNC_INTERVAL must',
    'WORKERS must',
    'LOG_LEVEL',
  ]) {
    expect(() => readConfig(schema, env)).toThrow(name);
  }
});

test('no value appears in the message, a secret least of all', () => {
  const env = {
    DATABASE_URL: 'postgrse://me:hunter2@db',
    CENTRAL_URL: 'ftp://user:hunter2@x',
    PORT: 'hunter2',
    SYNC_INTERVAL: 'hunter2',
    WORKERS: 'hunter2',
    LOG_LEVEL: 'hunter2',
  };
  let message = '';
  try {
    readConfig(schema, env);
  } catch (error) {
    message = JSON.stringify(error) + (error as Error).message + String((error as Error).stack);
  }
  expect(message).toContain('DATABASE_URL');
  expect(message).not.toContain('hunter2');
});

test.each([
  ['250ms', 250],
  ['30s', 30_000],
  ['5m', 300_000],
  ['12h', 43_200_000],
  ['7d', 604_800_000],
  ['1.5s', 1500],
  [' 2s ', 2000],
  ['0', 0],
])('%s is a duration', (text, ms) => expect(durationMs.parse(text)).toBe(ms));

// The last one would overflow setTimeout, which then fires at once.
test.each(['', '5', '-5s', 's', '5 m', '1e3s', '5min', 'NaNs', '0x10s', '25d'])('%j is no duration', (text) => {
  expect(durationMs.safeParse(text).success).toBe(false);
});

test.each(['postgres://h/d', 'postgresql://u:p@h:1/d?sslmode=require'])('%s is a database URL', (url) => {
  expect(databaseUrl.parse(url)).toBe(url);
});

test.each(['', 'h/d', 'http://h/d', 'postgres', 'postgres//h'])('%j is no database URL', (url) => {
  expect(databaseUrl.safeParse(url).success).toBe(false);
});

test.each(['+1', ' 1', '1 ', '1.0', '1e1', '0x1', '', '-1', '9', '0', '99999999999999999999'])(
  '%j is no whole number from 1 to 8',
  (text) => {
    expect(integer(1, 8).safeParse(text).success).toBe(false);
  },
);

test.each([
  ['90d', 7_776_000_000],
  ['36500d', 3_153_600_000_000],
  ['1h', 3_600_000],
  ['0', 0],
])('a retention of %s, longer than a timer can wait, is %s ms', (text, ms) => {
  expect(retentionMs.parse(text)).toBe(ms);
});

test.each(['36501d', '59m', '1y', '-1d', 'for ever', '90'])('a retention of %s is refused', (text) => {
  expect(retentionMs.safeParse(text).success).toBe(false);
});

test.each([
  ['10.0.0.7', ['10.0.0.7']],
  ['192.0.2.0/24, fd00::/8', ['192.0.2.0/24', 'fd00::/8']],
])('%s are networks', (text, listed) => {
  expect(networks.parse(text)).toEqual(listed);
});

test.each(['', 'proxy.example', '10.0.0.0/33', 'fd00::/129', '10.0.0.7,', '10.0.0.7/x', 'true'])('%j are no networks', (text) => {
  expect(networks.safeParse(text).success).toBe(false);
});
