import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type Central, startCentral } from '../apps/central-api/testing/central.js';
import { queryAt } from '../apps/edge-service/testing/edge.js';
import { newAuthority, newCertificate, writePair } from './support/certificates.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { temporaryFolder, type TemporaryFolder } from './support/temporary-folder.js';
import { waypost, waypostJson } from './support/waypost.js';

/** `waypost status` of a central that is only known by its address: with a private authority, and with an API key that only central may see. */

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
let central: Central;
let url: string;
let caFile: string;
let atCentral: Record<string, string>;
let key: string;

beforeAll(async () => {
  server = await startTestServer();
  folder = await temporaryFolder();
  const authority = await newAuthority();
  caFile = join(folder.path, 'ca.crt');
  await writeFile(caFile, authority.certificate);
  const { certFile, keyFile } = await writePair(folder.path, await newCertificate(authority));
  const side = await server.createSide('central');
  await queryAt(side.ownerUrl, 'CREATE TABLE devices (mac macaddr); CREATE TABLE notes (id int PRIMARY KEY)');
  const env = { AUTH: 'device', METRICS_TOKEN: 'm'.repeat(40), TLS_CERT: certFile, TLS_KEY: keyFile };
  central = await startCentral({ databaseUrl: side.serviceUrl, plan: PLAN, env });
  url = `https://127.0.0.1:${new URL(central.url).port}`;
  atCentral = { DATABASE_URL: side.serviceUrl };
  key = await newKey('console', 'status');
});
afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

async function newKey(name: string, rights: string): Promise<string> {
  return (await waypostJson<{ key: string }>(['key', 'add', '--name', name, '--allow', rights], atCentral)).json.key;
}

/** In a file, with a line feed, as editors write it. */
async function fileWith(text: string): Promise<string> {
  const file = join(folder.path, 'console.key');
  await writeFile(file, `${text}\n`);
  return file;
}

/** All that a run prints, which must not hold the key. */
async function status(args: string[], env: Record<string, string>) {
  const [plain, json] = [await waypost(['status', ...args], env), await waypostJson<object>(['status', ...args], env)];
  for (const text of [plain.out, plain.err, JSON.stringify(json.json)]) expect(text).not.toContain(key.slice(-43));
  return { plain, ...json };
}

test('an authority and a key of the environment are enough to see the fleet', async () => {
  const { plain, code, json } = await status(['--url', url], { CENTRAL_CA: caFile, WAYPOST_API_KEY: key });
  expect({ code, json }).toMatchObject({
    code: 0,
    json: { side: 'central', database: null, service: { url, healthy: true }, devices: { fresh: 0, never: 0 }, lastRequests: [] },
  });
  expect(plain.out).toContain('0 devices of 0 fresh.');
  expect(plain.out).toContain('No device has ever got a manifest');
});

test('so are those of options', async () => {
  const { code, json } = await status(['--url', url, '--ca', caFile, '--api-key-file', await fileWith(key)], {});
  expect({ code, json }).toMatchObject({ code: 0, json: { devices: { fresh: 0 } } });
});

test('without a key only whether central is ready is told', async () => {
  const { code, json } = await status(['--url', url, '--ca', caFile], {});
  expect({ code, json }).toMatchObject({ code: 0, json: { service: { healthy: true } } });
  expect(json).not.toHaveProperty('devices');
});

test('without its authority central is not trusted, and what to do is said', async () => {
  expect(await status(['--url', url], { WAYPOST_API_KEY: key })).toMatchObject({
    code: 3,
    json: { error: { code: 'CENTRAL_UNTRUSTED', hint: expect.stringContaining('--ca FILE') as string } },
  });
});

const WRONG_KEY = `wpk_01JD8Y2M3N4P5Q6R7S8T9VWXYZ_${'w'.repeat(43)}`;
test.each<[string, string, RegExp, () => Promise<string>]>([
  ['is not known', 'API_KEY_INVALID', /waypost key list/, () => Promise.resolve(WRONG_KEY)],
  ['lacks the right', 'API_KEY_RIGHT_MISSING', /waypost key add --allow/, () => newKey('scraper', 'metrics')],
  [
    'was revoked',
    'API_KEY_INVALID',
    /waypost key list/,
    async () => {
      const revoked = await newKey('former', 'status');
      await waypost(['key', 'revoke', 'former'], atCentral);
      return revoked;
    },
  ],
  ['is none', 'CONFIG_INVALID', /waypost key add/, () => Promise.resolve('secret-but-no-key')],
])('a key that %s is an error that says what to do, and does not repeat it', async (_, code, hint, make) => {
  const refused = await make();
  for (const [args, env] of [
    [[], { WAYPOST_API_KEY: refused }],
    [['--api-key-file', await fileWith(refused)], {}],
  ] as [string[], Record<string, string>][]) {
    const answer = await status(['--url', url, '--ca', caFile, ...args], env);
    expect(answer).toMatchObject({ code: 2, json: { error: { code, hint: expect.stringMatching(hint) as string } } });
    expect(answer.plain.err).toContain(code);
    expect(JSON.stringify(answer)).not.toContain(refused.slice(-43));
  }
});

test.each([
  ['--api-key-file', 'no such file'],
  ['--ca', 'is no certificate'],
])('a file of %s that cannot be used is wrong usage', async (option, detail) => {
  const file = option === '--ca' ? await fileWith('no certificate') : join(folder.path, 'none');
  const { code, json } = await status(['--url', url, ...(option === '--ca' ? [] : ['--ca', caFile]), option, file], {});
  expect({ code, json }).toMatchObject({
    code: 2,
    json: { error: { code: 'CONFIG_INVALID', detail: expect.stringContaining(option) as string } },
  });
  expect(JSON.stringify(json)).toContain(detail);
});

describe('by plain HTTP', () => {
  const received: IncomingMessage[] = [];

  /** Keeps the requests; `answer` answers those to /health. */
  async function listen(answer: RequestListener): Promise<{ port: number } & Disposable> {
    received.length = 0;
    const listener = createServer((request, response) => {
      received.push(request);
      if (request.url === '/health') answer(request, response);
      else response.writeHead(404).end('{}');
    }).listen(0, '127.0.0.1');
    await once(listener, 'listening');
    return { port: (listener.address() as AddressInfo).port, [Symbol.dispose]: () => void listener.close() };
  }

  const shown = (): string[] => received.filter(({ headers }) => headers['x-api-key'] === key).map(({ url: path }) => path as string);

  test('a key goes to this machine, and to another one only where that is allowed', async () => {
    using other = await listen((_request, response) => response.end('{}'));
    const env = { WAYPOST_API_KEY: key };
    expect((await status(['--url', `http://127.0.0.1:${other.port}`], env)).code).toBe(0);
    expect(new Set(shown())).toEqual(new Set(['/health', '/api/status']));
    received.length = 0;
    // Reaches this machine, and does not look like it.
    const elsewhere = `http://[::ffff:127.0.0.1]:${other.port}`;
    expect(await status(['--url', elsewhere], env)).toMatchObject({
      code: 2,
      json: { error: { code: 'CONFIG_INVALID', hint: expect.stringContaining('ALLOW_INSECURE') as string } },
    });
    expect(shown()).toEqual([]);
    expect((await status(['--url', elsewhere], { ...env, ALLOW_INSECURE: 'true' })).code).toBe(0);
    expect(shown()).not.toEqual([]);
  });

  test('a redirect is not followed: the key is for the address that was given', async () => {
    using other = await listen((_request, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end());
    expect(await status(['--url', `http://127.0.0.1:${other.port}`], { WAYPOST_API_KEY: key })).toMatchObject({
      code: 2,
      json: { error: { code: 'CONFIG_INVALID', detail: expect.stringContaining('redirects to http://127.0.0.1:1/') as string } },
    });
  });
});
