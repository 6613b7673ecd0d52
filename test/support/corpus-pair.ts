import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest, ManifestTable } from '@waypost/contracts';
import { withClient } from '../../scripts/with-client.js';
import { CHANGE_CENTRAL, CORPUS, FILL_CENTRAL, ODD_SETTINGS, planOf, PREPARE_EDGE } from '../corpus/any-schema.js';
import type { Side } from './image-roles.js';
import type { SideDatabase, TestServer } from './postgres.js';
import { post, Service } from './service.js';
import { contentsOf } from './table-contents.js';
import { temporaryFolder } from './temporary-folder.js';

/** A table under row-level security is refused to a role that does not see all of it. */
const BYPASS_ROW_SECURITY = 'ALTER ROLE waypost BYPASSRLS';
const MAC = '48:b0:2d:e9:c3:b7';

interface Place {
  server: TestServer;
  /** More of CREATE DATABASE. */
  locale?: string;
  hasOddSettings?: boolean;
}

interface SyncAnswer {
  status: string;
  code?: string;
  detail?: string;
  tables: { name: string; rowCount: number; sha256: string; action: string }[];
}

/** Both services as users run them, on databases that hold the corpus of tables. */
export class CorpusPair implements AsyncDisposable {
  private constructor(
    private readonly databases: Record<Side, SideDatabase>,
    private readonly central: Service,
    private readonly edge: Service,
    private readonly folder: AsyncDisposable,
  ) {}

  static async start(central: Place, edge: Place): Promise<CorpusPair> {
    const databases = {
      central: await central.server.createSide('central', central.locale),
      edge: await edge.server.createSide('edge', edge.locale),
    };
    await run(databases.central.ownerUrl, FILL_CENTRAL);
    await run(databases.central.url, [BYPASS_ROW_SECURITY]);
    await run(databases.edge.serviceUrl, PREPARE_EDGE);
    if (central.hasOddSettings) await run(databases.central.url, [ODD_SETTINGS]);
    if (edge.hasOddSettings) await run(databases.edge.url, [ODD_SETTINGS]);
    const folder = await temporaryFolder();
    const plan = join(folder.path, 'plan.yaml');
    await writeFile(plan, planOf(CORPUS));
    const centralService = await Service.start('central-api', {
      DATABASE_URL: databases.central.serviceUrl,
      SYNC_PLAN: plan,
      SNAPSHOT_STORE: `file:${join(folder.path, 'snapshots')}`,
    });
    const edgeService = await Service.start('edge-service', {
      DATABASE_URL: databases.edge.serviceUrl,
      CENTRAL_URL: centralService.url,
      DEVICE_MAC: MAC,
      SYNC_INTERVAL: '0',
      DOWNLOAD_DIR: join(folder.path, 'downloads'),
      IDENTITY_DIR: join(folder.path, 'identity'),
    });
    return new CorpusPair(databases, centralService, edgeService, folder);
  }

  /** A sync that must end so. */
  async sync(status: 'Success' | 'Unchanged', options?: { verify: boolean }): Promise<SyncAnswer> {
    const { body } = await post<SyncAnswer>(`${this.edge.url}/api/sync/now`, options);
    expect({ status: body.status, code: body.code, detail: body.detail }).toEqual({ status });
    return body;
  }

  async changeRows(): Promise<void> {
    await run(this.databases.central.ownerUrl, CHANGE_CENTRAL);
  }

  /** The tables of the manifest that the device would get now. */
  async tables(): Promise<ManifestTable[]> {
    const { body } = await post<{ manifest: Manifest }>(`${this.central.url}/api/device-sync/request`, { mac: MAC });
    return body.manifest.tables;
  }

  async expectEqualContents(): Promise<void> {
    const tables = await this.tables();
    const contents = await contentsOf(this.databases.central.url, tables);
    expect(Object.values(contents).flat().length).toBeGreaterThan(CORPUS.length);
    expect(await contentsOf(this.databases.edge.url, tables)).toEqual(contents);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.edge.end('SIGKILL');
    await this.central.end('SIGKILL');
    await this.folder[Symbol.asyncDispose]();
  }
}

async function run(url: string, scripts: readonly string[]): Promise<void> {
  await withClient(url, async (client) => {
    for (const script of scripts) await client.query(script);
  });
}
