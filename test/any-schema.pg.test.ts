import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest } from '@waypost/contracts';
import { withClient } from '../scripts/with-client.js';
import { CHANGE_CENTRAL, CORPUS, FILL_CENTRAL, planOf, PREPARE_EDGE } from './corpus/any-schema.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { post, Service } from './support/service.js';
import { contentsOf } from './support/table-contents.js';
import { temporaryFolder } from './support/temporary-folder.js';

const MAC = '48:b0:2d:e9:c3:b7';
const ICU = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'";

interface SyncAnswer {
  status: string;
  code?: string;
  detail?: string;
  tables: { name: string; rowCount: number; sha256: string; action: string }[];
}

describe.each([
  ['a central database that sorts as people do, and a device that sorts bytes', { centralLocale: ICU, edgeLocale: '' }],
  ['a central database that sorts bytes, and a device that sorts as people do', { centralLocale: '', edgeLocale: ICU }],
])('%s', (_, { centralLocale, edgeLocale }) => {
  let server: TestServer;
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let centralUrl: string;
  let edgeUrl: string;
  let central: Service;
  let edge: Service;

  const run = (url: string, scripts: readonly string[]) =>
    withClient(url, async (client) => {
      for (const script of scripts) await client.query(script);
    });

  beforeAll(async () => {
    server = await startTestServer();
    folder = await temporaryFolder();
    centralUrl = (await server.createDatabase('central', centralLocale)).url;
    edgeUrl = (await server.createDatabase('edge', edgeLocale)).url;
    await run(centralUrl, FILL_CENTRAL);
    await run(edgeUrl, PREPARE_EDGE);
    const plan = join(folder.path, 'plan.yaml');
    await writeFile(plan, planOf(CORPUS));
    central = await Service.start('central-api', {
      DATABASE_URL: centralUrl,
      SYNC_PLAN: plan,
      SNAPSHOT_STORE: `file:${join(folder.path, 'snapshots')}`,
    });
    edge = await Service.start('edge-service', {
      DATABASE_URL: edgeUrl,
      CENTRAL_URL: central.url,
      DEVICE_MAC: MAC,
      SYNC_INTERVAL: '0',
      DOWNLOAD_DIR: join(folder.path, 'downloads'),
    });
  });

  afterAll(async () => {
    await edge?.end('SIGKILL');
    await central?.end('SIGKILL');
    await server?.[Symbol.asyncDispose]();
    await folder?.[Symbol.asyncDispose]();
  });

  async function sync(status: string, options?: object): Promise<SyncAnswer> {
    const { body } = await post<SyncAnswer>(`${edge.url}/api/sync/now`, options);
    expect({ status: body.status, code: body.code, detail: body.detail }).toEqual({ status });
    return body;
  }

  async function expectEqual(): Promise<void> {
    const { body } = await post<{ manifest: Manifest }>(`${central.url}/api/device-sync/request`, { mac: MAC });
    const here = await contentsOf(centralUrl, body.manifest.tables);
    expect(Object.values(here).flat().length).toBeGreaterThan(CORPUS.length);
    expect(await contentsOf(edgeUrl, body.manifest.tables)).toEqual(here);
  }

  test('every table arrives as it is', async () => {
    await sync('Success');
    await expectEqual();
  });

  test('every table arrives again after its rows have changed', async () => {
    const before = new Map((await sync('Unchanged')).tables.map(({ name, sha256 }) => [name, sha256]));
    await run(centralUrl, CHANGE_CENTRAL);
    const { tables } = await sync('Success');
    expect(tables.filter(({ name, sha256 }) => before.get(name) === sha256).map(({ name }) => name)).toEqual([]);
    await expectEqual();
  });

  test('nothing of it is found to differ when all is hashed anew', async () => {
    await sync('Unchanged', { verify: true });
  });
});
