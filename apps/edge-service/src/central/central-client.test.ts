import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { zstdCompressSync } from 'node:zlib';
import pino from 'pino';
import { DownloadDisk } from '../metrics/download-disk.js';
import { Metrics } from '../metrics/metrics.js';
import { IdentityFiles } from '../identity/identity-files.js';
import { CentralAccess } from './access.js';
import { LastCheckpoint } from './last-checkpoint.js';
import { CentralClient } from './central-client.js';
import { CentralHttp } from './central-http.js';
import { DEFAULT_CIRCUIT_LIMITS } from './central-options.js';

const ANSWER = { manifest: { manifestId: '01JZ0000000000000000000000', notes: 'row '.repeat(500) } };
const FRAME = zstdCompressSync(JSON.stringify(ANSWER));

/** What the server answers with. */
let answer: { body: Buffer; encoding: string };
let server: Server;
let http: CentralHttp;
let client: CentralClient;

beforeAll(async () => {
  server = createServer((request, response) => {
    request.resume().on('end', () => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': answer.encoding }).end(answer.body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const options = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    trust: {},
    deviceMac: '02:00:00:00:00:01',
    requestTimeoutMs: 60_000,
    stallTimeoutMs: 60_000,
    circuit: DEFAULT_CIRCUIT_LIMITS,
  };
  const metricsOptions = { downloadFolder: tmpdir(), syncIntervalMs: 0 };
  const logger = pino({ enabled: false });
  http = new CentralHttp(options, logger);
  const identity = { folder: '/nonexistent', enrollmentToken: undefined, deviceMac: options.deviceMac, mayReplaceKey: true };
  const access = new CentralAccess(http, new IdentityFiles(identity.folder), identity, logger);
  client = new CentralClient(options, http, access, new Metrics(metricsOptions, new DownloadDisk(metricsOptions)), new LastCheckpoint());
});

afterAll(async () => {
  await http.onApplicationShutdown();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

async function ask(body: Buffer, encoding = 'zstd') {
  answer = { body, encoding };
  return client.requestManifest(undefined, false, new AbortController().signal);
}

test('a manifest that central compressed is read', async () => {
  expect((await ask(FRAME)).manifest).toEqual(ANSWER.manifest);
});

// A wrong bit within a whole frame is found by the manifest's hash.
test.each<[name: string, body: Buffer, encoding: string]>([
  ['is cut', FRAME.subarray(0, -1), 'zstd'],
  ['is no zstd frame', Buffer.from(JSON.stringify(ANSWER)), 'zstd'],
  ['is empty', Buffer.alloc(0), 'zstd'],
  // 64 MiB and one byte, in some kilobytes.
  ['is longer than its limit', zstdCompressSync(Buffer.alloc((64 << 20) + 1, ' ')), 'zstd'],
  ['has an encoding that the device did not offer', FRAME, 'br'],
])('a compressed answer that %s is refused', async (_name, body, encoding) => {
  await expect(ask(body, encoding)).rejects.toMatchObject({ code: 'CENTRAL_REFUSED', hint: expect.stringMatching(/\S/) as string });
});
