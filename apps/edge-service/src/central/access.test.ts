import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ErrorCode, PROBLEM_TYPE, toProblem, WaypostError } from '@waypost/contracts';
import pino from 'pino';
import { IdentityFiles } from '../identity/identity-files.js';
import { DownloadDisk } from '../metrics/download-disk.js';
import { Metrics } from '../metrics/metrics.js';
import { CentralAccess } from './access.js';
import { CentralClient } from './central-client.js';
import { CentralHttp } from './central-http.js';
import { LastCheckpoint } from './last-checkpoint.js';
import { DEFAULT_CIRCUIT_LIMITS } from './central-options.js';

/** A device that has enrolled, whose requests something on the way refuses or alters. */

const ULID = '01JZ0000000000000000000000';
const TOKEN = { access_token: 'eyJ.eyJ.sig', token_type: 'Bearer', expires_in: 600, renewal: 'r' };
const MANIFEST = { manifest: { manifestId: ULID } };

/** What answers in central's place: a code, or what was asked for. */
let answerTo: (request: IncomingMessage) => ErrorCode | object;
let server: Server;
let folder: string;
let http: CentralHttp;
let client: CentralClient;

beforeAll(async () => {
  server = createServer((request, response) => {
    request.resume().on('end', () => {
      const answer = answerTo(request);
      const error = typeof answer === 'string' ? new WaypostError(answer) : undefined;
      response.writeHead(error?.status ?? 200, { 'content-type': error ? PROBLEM_TYPE : 'application/json' });
      response.end(JSON.stringify(error ? toProblem(error) : answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  folder = await mkdtemp(join(tmpdir(), 'waypost-identity-'));
});
beforeEach(async () => {
  const options = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    trust: {},
    deviceMac: '02:00:00:00:00:01',
    requestTimeoutMs: 60_000,
    stallTimeoutMs: 60_000,
    circuit: DEFAULT_CIRCUIT_LIMITS,
  };
  const files = new IdentityFiles(folder);
  await files.accept({ privateKey: generateKeyPairSync('ed25519').privateKey, token: 't', deviceId: ULID, fleet: ULID });
  const metricsOptions = { downloadFolder: tmpdir(), syncIntervalMs: 0 };
  const logger = pino({ enabled: false });
  http = new CentralHttp(options, logger);
  const access = new CentralAccess(
    http,
    files,
    { folder, enrollmentToken: undefined, deviceMac: options.deviceMac, mayReplaceKey: true },
    logger,
  );
  client = new CentralClient(options, http, access, new Metrics(metricsOptions, new DownloadDisk(metricsOptions)), new LastCheckpoint());
});
afterEach(() => http.onApplicationShutdown());
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true, force: true });
});

const isForToken = ({ url }: IncomingMessage): boolean => url === '/api/auth/token';
const ask = () => client.requestManifest(undefined, false, new AbortController().signal);

test('a device shows its access token', async () => {
  answerTo = (request) => {
    if (isForToken(request)) return TOKEN;
    return request.headers.authorization === `Bearer ${TOKEN.access_token}` ? MANIFEST : 'AUTH_REQUIRED';
  };
  expect((await ask()).manifest).toEqual(MANIFEST.manifest);
});

test('a proxy that removes the header Authorization is named as what to look at', async () => {
  let asked = 0;
  answerTo = (request) => {
    if (isForToken(request)) return TOKEN;
    asked += 1;
    return 'AUTH_REQUIRED';
  };
  await expect(ask()).rejects.toMatchObject({
    code: 'CENTRAL_REFUSED',
    message: expect.stringContaining('although the device sent one') as string,
    hint: expect.stringMatching(/Authorization.*proxies/) as string,
  });
  expect(asked).toBe(1);
});

test.each([
  ['a token', true],
  ['a manifest', false],
])('a device that asks too often for %s keeps what it has, and asks again later', async (_, limitsTokens) => {
  let asked = 0;
  answerTo = (request) => {
    if (isForToken(request) !== limitsTokens) return TOKEN;
    asked += 1;
    return 'TOO_MANY_REQUESTS';
  };
  await expect(ask()).rejects.toMatchObject({ code: 'TOO_MANY_REQUESTS', heals: 'retry' });
  expect(asked).toBe(1);
});
