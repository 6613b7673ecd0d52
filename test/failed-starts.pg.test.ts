import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { writeFile } from 'node:fs/promises';
import { startTestServer, type TestServer } from './support/postgres.js';
import { Service } from './support/service.js';
import { query } from './support/sync-pair.js';
import { temporaryFolder, type TemporaryFolder } from './support/temporary-folder.js';

const FLEET = join(process.cwd(), 'plans', 'fleet.yaml');

let server: TestServer;
let folder: TemporaryFolder;

beforeAll(async () => {
  server = await startTestServer();
  folder = await temporaryFolder();
});
afterAll(async () => {
  await folder[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

/** The lines of a service that could not start: each must be one of the log. */
async function failedStart(name: 'central-api' | 'edge-service', env: Record<string, string>): Promise<Record<string, unknown>[]> {
  const { url } = await server.createDatabase('start');
  const more = {
    SNAPSHOT_STORE: `file:${folder.path}`,
    DOWNLOAD_DIR: folder.path,
    SYNC_PLAN: FLEET,
    CENTRAL_URL: 'http://127.0.0.1:9',
    DEVICE_MAC: '02:00:00:00:00:0b',
    SYNC_INTERVAL: '0',
  };
  const lines = await Service.failToStart(name, { DATABASE_URL: url, ...more, ...env });
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

test('a plan that does not fit ends the start of central with one line that names the faults', async () => {
  expect(await failedStart('central-api', {})).toEqual([
    expect.objectContaining({ level: 'fatal', msg: 'central-api cannot start', err: expect.objectContaining({ code: 'PLAN_INVALID' }) }),
  ]);
});

test.each(['central-api', 'edge-service'] as const)(
  'a busy port ends the start of %s: it says which port, and what holds it',
  async (name) => {
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const { port } = holder.address() as AddressInfo;
    const plan = join(folder.path, 'plan.yaml');
    await writeFile(
      plan,
      'version: 1\nschemaVersion: 1\nscope:\n  query: SELECT 1 AS one WHERE :mac::text IS NOT NULL\ntables:\n  - name: articles\n',
    );
    const { url } = await server.createDatabase('busy');
    await query(url, 'CREATE TABLE articles (id int PRIMARY KEY)');
    try {
      const lines = await failedStart(name, { DATABASE_URL: url, PORT: String(port), SYNC_PLAN: plan });
      const owner = process.platform === 'linux' ? `held by process ${process.pid} (` : 'held by another process';
      expect(lines.filter(({ level }) => level !== 'info' && level !== 'warn')).toEqual([
        expect.objectContaining({
          level: 'fatal',
          err: expect.objectContaining({ code: 'PORT_IN_USE', message: expect.stringContaining(`Port ${port} at 127.0.0.1 is ${owner}`) }),
        }),
      ]);
    } finally {
      holder.close();
    }
  },
);

test('a host that is none of this machine is a fault of HOST', async () => {
  const [line] = (await failedStart('edge-service', { HOST: '192.0.2.1' })).slice(-1);
  expect(line).toMatchObject({ level: 'fatal', err: { code: 'CONFIG_INVALID', message: expect.stringContaining('HOST: 192.0.2.1') } });
});
