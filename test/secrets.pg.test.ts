import { createPrivateKey } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { newId } from '@waypost/runtime';
import { Listener } from './support/listener.js';
import { Service } from './support/service.js';
import { MAC, query, SyncPair } from './support/sync-pair.js';
import { waypostJson } from './support/waypost.js';

/**
 * Secrets appear in no log line, metric, span, error body, process list, stored chunk or audit row, whatever fails: real services at their most talkative,
 * and every secret sent wherever it does not belong.
 */

const PASSWORDS = { central: 'central-password-canary', edge: 'edge-password-canary' };
const METRICS_TOKEN = 'metrics-token-canary';

let pair: SyncPair;
let spans: Listener;
/** By what they are. */
const secrets = new Map<string, string>();
/** Everything that anyone could read, by where it was found. */
const seen = new Map<string, string>();
/** Services that ended. */
const ended: Service[] = [];

const withPassword = (url: string, password: string): string => Object.assign(new URL(url), { password }).href;

beforeAll(async () => {
  spans = await Listener.start();
  const talkative = { LOG_LEVEL: 'trace', OTEL_EXPORTER_OTLP_ENDPOINT: spans.url, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' };
  pair = await SyncPair.start({
    centralEnv: { AUTH: 'device', METRICS_TOKEN, FAILED_ATTEMPTS_LIMIT: 'off', ...talkative },
    edgeEnv: talkative,
  });
});
/** From here on with passwords; the device enrolls. */
beforeAll(async () => {
  await query(pair.centralServer.url(), `ALTER ROLE waypost PASSWORD '${PASSWORDS.central}'`);
  await query(pair.edgeUrl, `ALTER ROLE waypost PASSWORD '${PASSWORDS.edge}'`);
  pair.centralEnv['DATABASE_URL'] = withPassword(pair.centralEnv['DATABASE_URL']!, PASSWORDS.central);
  pair.edgeEnv['DATABASE_URL'] = withPassword(pair.edgeEnv['DATABASE_URL']!, PASSWORDS.edge);
  const atCentral = { DATABASE_URL: pair.centralEnv['DATABASE_URL'] };
  const { json: added } = await waypostJson<{ token: string }>(['device', 'add', '--mac', MAC], atCentral);
  const { json: key } = await waypostJson<{ key: string }>(['key', 'add', '--name', 'canary', '--allow', 'status,metrics'], atCentral);
  pair.gateway.after = (exchange) => {
    if (exchange.path === '/api/auth/token' && exchange.status === 200)
      secrets.set(`access token ${secrets.size}`, (JSON.parse(exchange.body.toString()) as { access_token: string }).access_token);
    return exchange;
  };
  secrets.set('enrollment token', added.token).set('API key', key.key).set('METRICS_TOKEN', METRICS_TOKEN);
  secrets.set('password of central’s database', PASSWORDS.central).set('password of the edge’s database', PASSWORDS.edge);
  ended.push(pair.central, pair.edge);
  await pair.restartCentral();
  await pair.restartEdge({ ENROLLMENT_TOKEN: added.token });
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
  const stored = JSON.parse(await readFile(join(pair.edgeEnv['IDENTITY_DIR']!, 'identity.json'), 'utf8')) as { privateKey: string };
  const { d } = createPrivateKey(stored.privateKey).export({ format: 'jwk' });
  secrets.set('private key', d!).set('private key in PEM', stored.privateKey.split('\n')[1]!);
  expect([...secrets.keys()].filter((name) => name.startsWith('access token'))).not.toHaveLength(0);
});
afterAll(async () => {
  await pair?.[Symbol.asyncDispose]();
  await spans?.[Symbol.asyncDispose]();
});

interface Sent {
  method?: string;
  path: string;
  headers?: Record<string, string>;
  body?: string;
}

/** Sends it, and keeps what is answered. @returns the status; undefined where the connection broke */
async function send(service: Service, { method = 'GET', path, headers = {}, body }: Sent): Promise<number | undefined> {
  const { hostname, port } = new URL(service.url);
  const described = body === undefined ? {} : { 'content-type': 'application/json' };
  return new Promise((resolve) => {
    const request = httpRequest({ hostname, port, method, path, headers: { ...described, ...headers } }, (response) => {
      textOf(response).then(
        (text) => {
          seen.set(`answer to ${method} ${path} ${newId()}`, `${JSON.stringify(response.headers)} ${text}`);
          resolve(response.statusCode);
        },
        () => resolve(undefined),
      );
    });
    request.on('error', () => resolve(undefined)).end(body);
  });
}

const JSON_ROUTES = ['/api/device-sync/request', '/api/device-sync/ack', '/api/devices/enroll', '/api/auth/token'];

/** One secret in all places of a request where it does not belong. */
function misplaced(secret: string): Sent[] {
  const inBodies = [
    { mac: secret },
    { token: secret, proof: secret },
    { token: [secret] },
    { [secret]: 1 },
    { grant_type: secret, client_assertion: secret },
    secret,
  ];
  return [
    ...[
      'authorization',
      'x-api-key',
      'cookie',
      'range',
      'if-none-match',
      'prefer',
      'content-digest',
      'waypost-cycle-id',
      'traceparent',
    ].flatMap((header) =>
      ['/api/device-sync/request', '/metrics', '/api/status', '/health', '/api/sync/status'].map((path) => ({
        path,
        headers: { [header]: secret },
      })),
    ),
    ...['Basic', 'Bearer', 'Digest'].map((scheme) => ({ path: '/metrics', headers: { authorization: `${scheme} ${secret}` } })),
    ...['Basic', 'Bearer', 'Digest'].map((scheme) => ({
      method: 'POST',
      path: JSON_ROUTES[0]!,
      headers: { authorization: `${scheme} ${secret}` },
      body: '{}',
    })),
    ...[
      `/${secret}`,
      `/api/unknown/${secret}`,
      `/api/unknown?token=${secret}`,
      `/metrics?${secret}`,
      `/%zz${secret}`,
      `/api/device-sync/manifests/${secret}`,
    ].map((path) => ({ path })),
    { path: `/api/device-sync/manifests/${newId()}/tables/${secret}/chunks?mac=${secret}` },
    { method: 'DELETE', path: `/api/auth/token?assertion=${secret}` },
    { path: '/healthz', headers: { 'x-long': secret.repeat(Math.ceil(20_000 / secret.length)) } },
    ...JSON_ROUTES.flatMap((path) => [
      ...inBodies.map((body) => ({ method: 'POST', path, body: JSON.stringify(body) })),
      ...[`{"token":"${secret}`, `{"token":${secret}}`, secret, `{"a":"${secret}","__proto__":{}}`].map((body) => ({
        method: 'POST',
        path,
        body,
      })),
      { method: 'POST', path, headers: { 'content-type': `text/${secret.slice(0, 40)}` }, body: secret },
      { method: 'POST', path, headers: { 'content-encoding': secret }, body: secret },
      { method: 'POST', path, body: JSON.stringify({ padding: secret.repeat(Math.ceil(600_000 / secret.length)) }) },
    ]),
    ...['/api/sync/now', '/api/sync/scrub'].map((path) => ({ method: 'PUT', path, body: secret })),
    ...[`{"verify":"${secret}"}`, `{"verify":${secret}}`].map((body) => ({ method: 'POST', path: '/api/sync/now', body })),
  ];
}

/** Secrets of this service, and those that look like one, wherever they are. What is of neither kind is a word like any other. */
function isKnownTo(service: Service, name: string): boolean {
  if (/^(enrollment|access) token|^API key/.test(name)) return true;
  return service === pair.central ? name === 'METRICS_TOKEN' || name.includes('central’s') : name.includes('edge’s');
}

/** An answer quotes nothing of it. */
function isUnquoted({ path, headers = {} }: Sent): boolean {
  const names = Object.keys(headers);
  return names.some((name) => /^(authorization|x-api-key|cookie)$/.test(name)) || (path === '/api/auth/token' && names.length === 0);
}

test('everything that can fail is made to fail', async () => {
  const access = [...secrets].find(([name]) => name.startsWith('access token'))![1];
  for (const [name, secret] of secrets) {
    for (const service of [pair.central, pair.edge]) {
      const requests = misplaced(secret);
      for (const sent of isKnownTo(service, name) ? requests : requests.filter(isUnquoted)) await send(service, sent);
    }
  }
  // With what opens the door, and a wrong rest.
  const authorization = `Bearer ${access}`;
  for (const path of JSON_ROUTES) {
    for (const [, secret] of [...secrets].filter(([name]) => isKnownTo(pair.central, name)))
      await send(pair.central, {
        method: 'POST',
        path,
        headers: { authorization },
        body: JSON.stringify({ mac: secret, manifestId: secret, error: secret }),
      });
  }
  await send(pair.central, { path: '/api/status', headers: { 'x-api-key': secrets.get('API key')! } });

  // Central's database is away, then rows of it; the device's, too.
  await pair.centralServer.stop();
  for (const sent of misplaced(access).slice(0, 60)) await send(pair.central, sent);
  await send(pair.central, { path: '/api/status', headers: { 'x-api-key': secrets.get('API key')! } });
  await send(pair.central, { path: '/health', headers: { authorization: `Bearer ${METRICS_TOKEN}` } });
  await pair.sync();
  await pair.centralServer.start();
  await pair.edgeServer.stop();
  await send(pair.edge, { path: '/health' });
  await send(pair.edge, { method: 'POST', path: '/api/sync/now' });
  await pair.edgeServer.start();

  // The device is refused again and again: its token, then its key, then what it enrolled with.
  await query(pair.centralServer.url(), 'UPDATE waypost.devices SET revoked_at = now(); UPDATE waypost.device_keys SET retired_at = now()');
  for (let at = 0; at < 3; at += 1) await pair.sync();
  const identity = join(pair.edgeEnv['IDENTITY_DIR']!, 'identity.json');
  const whole = await readFile(identity, 'utf8');
  for (const damaged of [whole.slice(0, -20), whole.replace('PRIVATE KEY', 'PUBLIC KEY'), whole.replace(/(.{30})"/, '$1"x')]) {
    await writeFile(identity, damaged);
    ended.push(pair.edge);
    await pair.restartEdge({ ENROLLMENT_TOKEN: secrets.get('enrollment token')! });
    await pair.sync();
  }

  // Settings that are wrong.
  const wrong: ['central-api' | 'edge-service', Record<string, string>][] = [
    ['central-api', { DATABASE_URL: `nonsense:${PASSWORDS.central}` }],
    ['central-api', { METRICS_TOKEN: `${METRICS_TOKEN} with a blank`, DATABASE_URL: `http://u:${PASSWORDS.central}@h` }],
    ['central-api', { PORT: METRICS_TOKEN }],
    ['central-api', { ADMIN_PORT: '0', ADMIN_HOST: METRICS_TOKEN }],
    ['edge-service', { ENROLLMENT_TOKEN: `${secrets.get('enrollment token')}x` }],
    ['edge-service', { CENTRAL_URL: `ftp://u:${PASSWORDS.edge}@127.0.0.1`, DATABASE_URL: `${PASSWORDS.edge}` }],
  ];
  for (const [name, env] of wrong) {
    const base = name === 'central-api' ? pair.centralEnv : pair.edgeEnv;
    const log = await Service.failToStart(name, { ...base, ...env });
    expect(log.join('\n')).toContain('CONFIG_INVALID');
    seen.set(`log of ${name} with ${Object.keys(env).join()}`, log.join('\n'));
  }
});

test('and no secret is anywhere', async () => {
  const running = [pair.central, pair.edge];
  for (const service of running) {
    for (const path of ['/metrics', '/health', '/api/sync/status'])
      await send(service, { path, headers: { authorization: `Bearer ${METRICS_TOKEN}` } });
    for (const file of ['cmdline', 'comm']) seen.set(`${file} of ${service.url}`, await readFile(`/proc/${service.pid}/${file}`, 'utf8'));
  }
  const sides = [
    ['central', pair.centralServer.url()],
    ['edge', pair.edgeUrl],
  ] as const;
  for (const [side, url] of sides) {
    const tables = await query<{ name: string }>(
      url,
      "SELECT relname AS name FROM pg_class WHERE relnamespace = to_regnamespace('waypost') AND relkind IN ('r', 'v')",
    );
    expect(tables.length).toBeGreaterThan(5);
    for (const { name } of tables) {
      const rows = await query<{ row: string }>(url, `SELECT t::text AS row FROM waypost."${name}" t`);
      seen.set(`waypost.${name} of ${side}`, rows.map(({ row }) => row).join('\n'));
    }
  }
  const store = pair.centralEnv['SNAPSHOT_STORE']!.slice('file:'.length);
  for (const folder of [store, pair.edgeEnv['DOWNLOAD_DIR']!]) {
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }))
      if (entry.isFile()) seen.set(join(entry.parentPath, entry.name), await readFile(join(entry.parentPath, entry.name), 'latin1'));
  }
  ended.push(...running);
  await pair.edge.end('SIGTERM');
  await pair.central.end('SIGTERM');
  for (const [at, { log, errors }] of ended.entries()) seen.set(`log ${at}`, `${log.join('\n')}\n${errors}`);
  seen.set('spans', spans.received.map(({ url, body }) => `${url} ${body}`).join('\n'));
  expect(spans.received.length).toBeGreaterThan(0);
  expect([...seen].filter(([, text]) => text.includes('"level":"debug"') || text.includes('"level":"trace"'))).not.toHaveLength(0);

  const leaks: string[] = [];
  for (const [where, text] of seen) {
    for (const [what, secret] of secrets) {
      const at = text.indexOf(secret);
      if (at >= 0) leaks.push(`${what} in ${where.replaceAll(secret, '…')}: ${text.slice(Math.max(0, at - 120), at)}…`);
    }
  }
  expect(leaks).toEqual([]);
});
