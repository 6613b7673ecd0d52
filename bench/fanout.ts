import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest } from '@waypost/contracts';
import type pg from 'pg';
import { Agent } from 'undici';
import { askCentral, countTableReads, lastTableReadAt } from './ask-central.js';
import { benchFolder } from './bench-folder.js';
import { CREATE_TABLE, FILL, TABLE } from './dataset.js';
import { folderSize } from './folder-size.js';
import type { FullOptions } from './full.js';
import { describeMachine, type Machine } from './machine.js';
import { type CpuSeconds, measure } from './measure.js';
import { residentMemory } from './process-stats.js';
import { Servers, withClient } from './servers.js';
import { ServiceProcess } from './service-process.js';
import { spreadOf, medianOf, mediansByName, type Spread } from './statistics.js';
import { runWaypost } from './waypost-command.js';

const DEVICES = 1000;
const SCOPES = 20;
/** The two devices of the sharing case: all but this part of the second one's rows are the first one's too. */
const NEW_SHARE = 0.1;
/** Their scopes are so much larger than those of the fleet: a chunk at the border of what is shared is stored twice, and in a small scope that is much of it. */
const STORE_FACTOR = 20;
const NEAR_MACS = ['02:00:00:01:00:00', '02:00:00:01:00:01'] as const;
/** As long as a device waits anyway: no request is refused, and what is measured is work. */
const MAX_WAIT = '30m';
const PLAN = `version: 1
schemaVersion: 1
changes: triggers
scope:
  query: SELECT low_id, high_id FROM devices WHERE mac = :mac
tables:
  - name: ${TABLE}
    where: id > :low_id AND id <= :high_id
  - name: catalog
`;

/** All devices ask at once, on a store that is empty. */
interface Rush {
  /** Table snapshots that were read from the database. */
  built: number;
  totalMs: number;
  /** From the end of the last build to the last manifest. */
  afterLastBuildMs: number;
  p50Ms: number;
  p99Ms: number;
  cpuSeconds: CpuSeconds;
  /** Of central; absent where there is no /proc. */
  peakBytes?: number;
}

/** The result of `bench fanout`, as --json prints it. */
export interface FanoutReport {
  case: 'fanout';
  date: string;
  machine: Machine;
  versions: { node: string; postgres: string };
  rows: number;
  devices: number;
  scopes: number;
  rounds: number;
  /** How many table snapshots there are: one for each scope, and one that all share. */
  snapshots: number;
  /** Medians. */
  rush: Rush;
  totalMs: Spread;
  /** Bytes of the store with one scope, and what a second one adds that has nine tenths of its rows. */
  store: { rows: number; firstBytes: number; secondBytes: number };
}

/** A fleet whose devices all ask at once, and the room that scopes take that share rows. */
export async function runFanout({ rows, rounds, say, signal }: FullOptions): Promise<FanoutReport> {
  await using run = await benchFolder();
  const folder = run.path;
  await using servers = await Servers.start(folder, signal);
  await writeFile(join(folder, 'plan.yaml'), PLAN);
  const rushes: Rush[] = [];
  let store: FanoutReport['store'] | undefined;
  for (let round = 1; round <= rounds; round += 1) {
    say(`round ${round} of ${rounds}: filling ${SCOPES} × ${rows.toLocaleString('en-US')} rows`);
    // A process keeps its peak memory: a new one for each round.
    await using bench = await FanoutBench.start({ servers, folder, database: `fanout_${round}`, rows });
    const rush = await bench.rush();
    say(`round ${round} of ${rounds}: ${rush.built} table snapshots built, all answered in ${(rush.totalMs / 1000).toFixed(1)} s`);
    rushes.push(rush);
    if (round === rounds) store = await bench.measureStore();
  }
  return {
    case: 'fanout',
    date: new Date().toISOString(),
    machine: describeMachine(),
    versions: { node: process.versions.node, postgres: servers.version },
    rows,
    devices: DEVICES,
    scopes: SCOPES,
    rounds,
    snapshots: SCOPES + 1,
    rush: {
      ...(mediansByName(rushes.map(({ cpuSeconds: _, ...numbers }) => numbers)) as unknown as Rush),
      cpuSeconds: mediansByName(rushes.map(({ cpuSeconds }) => cpuSeconds)),
    },
    totalMs: spreadOf(rushes.map(({ totalMs }) => totalMs)),
    store: store!,
  };
}

interface StartOptions {
  servers: Servers;
  folder: string;
  database: string;
  rows: number;
}

class FanoutBench implements AsyncDisposable {
  private constructor(
    private readonly servers: Servers,
    private readonly databaseUrl: string,
    private readonly storeFolder: string,
    private readonly rows: number,
    private readonly central: ServiceProcess,
  ) {}

  static async start({ servers, folder, database, rows }: StartOptions): Promise<FanoutBench> {
    await servers.createDatabases(database);
    const databaseUrl = servers.urlOf('central', database);
    await withClient(databaseUrl, (client) => fillFleet(client, rows));
    const storeFolder = join(folder, database);
    const plan = join(folder, 'plan.yaml');
    const central = await ServiceProcess.start('start:central', {
      DATABASE_URL: databaseUrl,
      SYNC_PLAN: plan,
      SNAPSHOT_STORE: `file:${storeFolder}`,
      BUILD_QUEUE_TIMEOUT: MAX_WAIT,
    });
    await runWaypost(databaseUrl, 'capture', 'install', '--plan', plan);
    return new FanoutBench(servers, databaseUrl, storeFolder, rows, central);
  }

  /** @throws Error when a request fails, or when two devices of one scope get different tables */
  async rush(): Promise<Rush> {
    const agent = new Agent({ connections: DEVICES, headersTimeout: 0, bodyTimeout: 0 });
    try {
      const macs = Array.from({ length: DEVICES }, (_, at) => macOf(at));
      const before = await countTableReads(this.central.url);
      this.central.takeLog();
      const startedAt = performance.now();
      const processes = { central: this.central.pid, centralPostgres: this.servers.central.pid };
      const { result, ms, cpuSeconds } = await measure(processes, () =>
        Promise.all(
          macs.map(async (mac) => {
            const manifest = await askCentral(this.central.url, { mac }, agent);
            return { manifest, tookMs: performance.now() - startedAt };
          }),
        ),
      );
      const answeredAt = Date.now();
      checkScopes(result.map(({ manifest }) => manifest));
      const lastReadAt = lastTableReadAt(this.central.takeLog());
      const took = result.map(({ tookMs }) => tookMs).sort((a, b) => a - b);
      const memory = await residentMemory(this.central.pid);
      return {
        built: (await countTableReads(this.central.url)) - before,
        totalMs: ms,
        afterLastBuildMs: answeredAt - lastReadAt,
        p50Ms: medianOf(took),
        p99Ms: took[Math.floor(took.length * 0.99)] ?? NaN,
        cpuSeconds,
        ...(memory ? { peakBytes: memory.peakBytes } : {}),
      };
    } finally {
      await agent.destroy();
    }
  }

  /** What the store grows by for a scope of its own, and then for one that has nine tenths of its rows. */
  async measureStore(): Promise<FanoutReport['store']> {
    const low = SCOPES * this.rows;
    const rows = this.rows * STORE_FACTOR;
    const shift = Math.round(rows * NEW_SHARE);
    await withClient(this.databaseUrl, async (client) => {
      await client.query(FILL, [low + 1, low + rows + shift]);
      for (const [at, mac] of NEAR_MACS.entries()) {
        await client.query('INSERT INTO devices VALUES ($1, $2, $3)', [mac, low + at * shift, low + at * shift + rows]);
      }
    });
    const sizes = [await folderSize(this.storeFolder)];
    for (const mac of NEAR_MACS) {
      await askCentral(this.central.url, { mac });
      sizes.push(await folderSize(this.storeFolder));
    }
    return { rows, firstBytes: sizes[1]! - sizes[0]!, secondBytes: sizes[2]! - sizes[1]! };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.central[Symbol.asyncDispose]();
  }
}

async function fillFleet(client: pg.Client, rows: number): Promise<void> {
  await client.query(CREATE_TABLE);
  await client.query('CREATE TABLE devices (mac text PRIMARY KEY, low_id bigint NOT NULL, high_id bigint NOT NULL)');
  await client.query(FILL, [1, SCOPES * rows]);
  await client.query(`CREATE TABLE catalog AS SELECT * FROM ${TABLE} WHERE id <= $1`, [rows]);
  await client.query('ALTER TABLE catalog ADD PRIMARY KEY (id)');
  const values = Array.from({ length: DEVICES }, (_, at) => `('${macOf(at)}', ${(at % SCOPES) * rows}, ${((at % SCOPES) + 1) * rows})`);
  await client.query(`INSERT INTO devices VALUES ${values.join(', ')}`);
  await client.query('VACUUM (ANALYZE, FREEZE)');
}

function macOf(at: number): string {
  return `02:00:00:00:${[at >> 8, at & 255].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`;
}

/** @throws Error when devices of one scope did not get the same tables, or those of two scopes did */
function checkScopes(manifests: readonly Manifest[]): void {
  const hashes = manifests.map(({ tables }) => tables.map(({ name, sha256 }) => `${name} ${sha256}`).join(', '));
  for (const [at, found] of hashes.entries()) {
    if (found !== hashes[at % SCOPES]) throw new Error(`${macOf(at)} got other tables than ${macOf(at % SCOPES)}: ${found}`);
  }
  if (new Set(hashes).size !== SCOPES) throw new Error('Two scopes got the same tables.');
}
