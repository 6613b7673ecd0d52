import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { DEVICE_MAC, DROP_MIRROR, writePlan } from './dataset.js';
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
interface SyncAnswer {
  status: string;
  downloadedBytes: number;
  ack: string;
}

const WAYPOST_TABLES = `
  SELECT string_agg(format('waypost.%I', tablename), ', ') AS names FROM pg_tables
  WHERE schemaname = 'waypost' AND tablename NOT LIKE '%migrations' AND tablename <> 'central_state'`;

/** Both services on one pair of databases, from their start to their end. */
export class Services implements AsyncDisposable {
  private constructor(
    readonly central: ServiceProcess,
    readonly edge: ServiceProcess,
    private readonly databases: { central: string; edge: string },
    private readonly snapshotFolder: string,
  ) {}

  static async start(servers: Servers, database: string, folder: string): Promise<Services> {
    const databases = { central: servers.urlOf('central', database), edge: servers.urlOf('edge', database) };
    const snapshots = join(folder, 'snapshots');
    const plan = join(folder, 'plan.yaml');
    await mkdir(snapshots, { recursive: true });
    await writePlan(plan, 'triggers');
    const central = await ServiceProcess.start('start:central', {
      DATABASE_URL: databases.central,
      SYNC_PLAN: plan,
      SNAPSHOT_STORE: `file:${snapshots}`,
    });
    try {
      // So that central can tell that a snapshot is still what it would read.
      await runWaypost(databases.central, 'capture', 'install', '--plan', plan);
      const edge = await ServiceProcess.start('start:edge', {
        DATABASE_URL: databases.edge,
        CENTRAL_URL: central.url,
        DEVICE_MAC,
        DOWNLOAD_DIR: join(folder, 'downloads'),
        SYNC_INTERVAL: '0',
      });
      return new Services(central, edge, databases, snapshots);
    } catch (error) {
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
    const response = await fetch(`${this.edge.url}/api/sync/now`, { method: 'POST' });
    const text = await response.text();
    const answer = response.ok ? (JSON.parse(text) as SyncAnswer) : undefined;
    if (answer?.status !== 'Success' || answer.ack !== 'sent') {
      throw new Error(`POST /api/sync/now answered ${response.status}: ${text}\nThe end of the edge's log:\n${this.edge.logTail}`);
    }
    const built = this.central.log.find(isSnapshotBuilt);
    return { downloadedBytes: answer.downloadedBytes, rawBytes: Number(built?.['rawBytes']) };
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
