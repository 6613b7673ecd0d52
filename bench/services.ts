import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { CountingProxy } from './counting-proxy.js';
import { DEVICE_MAC, DROP_MIRROR, planWith } from './dataset.js';
import { type ResidentMemory, residentMemory } from './process-stats.js';
import { type Servers, withClient } from './servers.js';
import { type LogLine, ServiceProcess } from './service-process.js';
import { runWaypost } from './waypost-command.js';

/** Milliseconds of each step, by name, in the order of their ends. */
export type Steps = Record<string, number>;

export interface SyncOutcome {
  downloadedBytes: number;
  rawBytes: number;
}

/** What POST /api/sync/now answers, as far as the bench reads it. */
export interface SyncAnswer {
  /** `Success` or `Unchanged`; of a failed cycle the HTTP status. */
  status: string | number;
  /** Of a failed cycle's error. */
  code?: string;
  downloadedBytes: number;
  ack: string;
}

/** What POST /api/sync/scrub answers, as far as the bench reads it. */
export interface ScrubAnswer {
  /** Absent where it failed. */
  drifts?: object[];
}

interface ServicesOptions {
  /** YAML. By default all rows of the table, captured. */
  plan?: string;
  /** Whether the edge reaches central through a proxy that counts. */
  counted?: boolean;
}

const WAYPOST_TABLES = `
  SELECT string_agg(format('waypost.%I', tablename), ', ') AS names FROM pg_tables
  WHERE schemaname = 'waypost' AND tablename NOT LIKE '%migrations' AND tablename NOT IN ('central_state', 'ledger_head', 'ledger_keys')`;

/** Both services on one pair of databases, from their start to their end. */
export class Services implements AsyncDisposable {
  private constructor(
    readonly central: ServiceProcess,
    readonly edge: ServiceProcess,
    readonly databases: { central: string; edge: string },
    readonly snapshotFolder: string,
    /** Between the two, if it was asked for. */
    readonly wire: CountingProxy | undefined,
  ) {}

  static async start(servers: Servers, database: string, folder: string, options: ServicesOptions = {}): Promise<Services> {
    const { plan = planWith('triggers'), counted = false } = options;
    const databases = { central: servers.urlOf('central', database), edge: servers.urlOf('edge', database) };
    const snapshots = join(folder, 'snapshots');
    const planFile = join(folder, 'plan.yaml');
    await mkdir(snapshots, { recursive: true });
    await writeFile(planFile, plan);
    const central = await ServiceProcess.start('start:central', {
      DATABASE_URL: databases.central,
      SYNC_PLAN: planFile,
      SNAPSHOT_STORE: `file:${snapshots}`,
    });
    let wire: CountingProxy | undefined;
    try {
      // So that central can tell that a snapshot is still what it would read.
      await runWaypost(databases.central, 'capture', 'install', '--plan', planFile);
      if (counted) wire = await CountingProxy.start(central.url);
      const edge = await ServiceProcess.start('start:edge', {
        DATABASE_URL: databases.edge,
        CENTRAL_URL: wire?.url ?? central.url,
        DEVICE_MAC,
        DOWNLOAD_DIR: join(folder, 'downloads'),
        IDENTITY_DIR: join(folder, 'identity'),
        SYNC_INTERVAL: '0',
      });
      return new Services(central, edge, databases, snapshots, wire);
    } catch (error) {
      await wire?.[Symbol.asyncDispose]();
      await central[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Both sides as they were before the first sync ever: no snapshot, no manifest, no state, no table on the edge. */
  async forgetEverything(): Promise<void> {
    await rm(this.snapshotFolder, { recursive: true, force: true });
    await mkdir(this.snapshotFolder);
    await withClient(this.databases.central, truncateWaypostTables);
    await this.forgetEdge();
  }

  /** The edge as it was before its first sync; central keeps what it has. */
  async forgetEdge(): Promise<void> {
    await withClient(this.databases.edge, async (client) => {
      await truncateWaypostTables(client);
      await client.query(DROP_MIRROR);
    });
    this.takeSteps();
  }

  /** @throws Error when the cycle is not a success that central has acknowledged */
  async syncNow(): Promise<SyncOutcome> {
    const { downloadedBytes } = this.succeeded(await this.postSync());
    const built = this.central.log.find(isSnapshotBuilt);
    return { downloadedBytes, rawBytes: Number(built?.['rawBytes']) };
  }

  /** One cycle, whatever comes of it. */
  async postSync(): Promise<SyncAnswer> {
    return (await (await fetch(`${this.edge.url}/api/sync/now`, { method: 'POST' })).json()) as SyncAnswer;
  }

  /** All that the device holds is read, and what drifted is put right. */
  async postScrub(): Promise<ScrubAnswer> {
    return (await (await fetch(`${this.edge.url}/api/sync/scrub`, { method: 'POST' })).json()) as ScrubAnswer;
  }

  /** @throws Error when the cycle was not a success that central has acknowledged */
  succeeded(answer: SyncAnswer): SyncAnswer {
    if (answer.status === 'Success' && answer.ack === 'sent') return answer;
    throw new Error(`POST /api/sync/now answered ${JSON.stringify(answer)}\nThe end of the edge's log:\n${this.edge.logTail}`);
  }

  /** Steps that ended since the last call, from the logs: central's build within the edge's request, then the edge's own. */
  takeSteps(): Steps {
    const built = this.central.takeLog().find(isSnapshotBuilt);
    const steps: Steps = built ? { build: Number(built['durationMs']) } : {};
    for (const line of this.edge.takeLog()) {
      if (line['msg'] === 'step finished') steps[String(line['step'])] = Number(line['durationMs']);
    }
    return steps;
  }

  async memory(): Promise<Record<'central' | 'edge', ResidentMemory | undefined>> {
    return { central: await residentMemory(this.central.pid), edge: await residentMemory(this.edge.pid) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.edge[Symbol.asyncDispose]();
    await this.wire?.[Symbol.asyncDispose]();
    await this.central[Symbol.asyncDispose]();
  }
}

function isSnapshotBuilt(line: LogLine): boolean {
  return line['msg'] === 'snapshot built';
}

async function truncateWaypostTables(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<{ names: string }>(WAYPOST_TABLES);
  await client.query(`TRUNCATE ${(rows[0] as { names: string }).names}`);
}
