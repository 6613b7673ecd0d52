import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Manifest, PREFER_MINIMAL } from '@waypost/contracts';
import { freePort } from '../scripts/ports.js';
import { projectRoot } from '../scripts/project-root.js';
import { benchFolder } from './bench-folder.js';
import { CountingProxy } from './counting-proxy.js';
import { DEVICE_MAC, fillCentral, writePlan } from './dataset.js';
import type { FullOptions } from './full.js';
import { describeMachine, type Machine } from './machine.js';
import { measure } from './measure.js';
import { pollLoad, type PollLoad } from './poll-load.js';
import { Servers, withClient } from './servers.js';
import { ServiceProcess } from './service-process.js';
import { mediansByName, type Spread, spreadOf } from './statistics.js';

const SMALL_ROWS = 10_000;
const MANY_TABLES = 20;
const SYNCS = 50;
const DEVICES = 500;
const CONNECTIONS = 64;
const LOAD_SECONDS = 5;
const BARE_TABLE = `
  CREATE TABLE bare_requests (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mac text, manifest_id text, requested_at timestamptz NOT NULL,
    operation text NOT NULL, status text NOT NULL, reason text, duration_ms integer NOT NULL, request_id text NOT NULL);
  CREATE INDEX ON bare_requests (mac, requested_at DESC);
  CREATE INDEX ON bare_requests (requested_at)`;

interface IdleSync {
  rows: number;
  tables: number;
  ms: Spread;
  /** Both ways, between edge and central, headers included. */
  bytes: Spread;
}

/** The result of `bench idle`, as --json prints it. */
export interface IdleReport {
  case: 'idle';
  date: string;
  machine: Machine;
  versions: { node: string; postgres: string };
  syncs: IdleSync[];
  devices: number;
  /** Medians of the rounds. */
  polls: PollLoad;
  bare: PollLoad;
  /** Polls at half of the rate that was reached. */
  half: PollLoad;
  /** CPU seconds while polls were answered as fast as they came. */
  cpuSeconds: Record<string, number>;
}

/** What a device costs that is up to date, where changes are captured. */
export async function runIdle({ rows, rounds, say, signal }: FullOptions): Promise<IdleReport> {
  await using run = await benchFolder();
  const folder = run.path;
  await using servers = await Servers.start(folder, signal);
  const syncs: IdleSync[] = [];
  let load: Pick<IdleReport, 'polls' | 'bare' | 'half' | 'cpuSeconds'> | undefined;
  for (const size of [
    { rows: SMALL_ROWS, tables: 1 },
    { rows, tables: 1 },
    { rows: SMALL_ROWS, tables: MANY_TABLES },
  ]) {
    say(`filling ${size.rows.toLocaleString('en-US')} rows, tables: ${size.tables}`);
    await using bench = await IdleBench.start(servers, folder, size);
    syncs.push(await bench.measureSyncs());
    load ??= await bench.measurePolls(rounds, say);
  }
  return {
    case: 'idle',
    date: new Date().toISOString(),
    machine: describeMachine(),
    versions: { node: process.versions.node, postgres: servers.version },
    syncs,
    devices: DEVICES,
    ...load!,
  };
}

class IdleBench implements AsyncDisposable {
  private constructor(
    private readonly servers: Servers,
    private readonly database: string,
    private readonly size: Pick<IdleSync, 'rows' | 'tables'>,
    private readonly central: ServiceProcess,
    private readonly proxy: CountingProxy,
    private readonly edge: ServiceProcess,
  ) {}

  static async start(servers: Servers, folder: string, size: Pick<IdleSync, 'rows' | 'tables'>): Promise<IdleBench> {
    const database = `idle_${size.rows}_${size.tables}`;
    await servers.createDatabases(database);
    const databaseUrl = servers.urlOf('central', database);
    await withClient(databaseUrl, async (client) => {
      await fillCentral(client, size.rows);
      for (const name of sideTables(size.tables))
        await client.query(`CREATE TABLE ${name} AS TABLE items LIMIT 10; ALTER TABLE ${name} ADD PRIMARY KEY (id)`);
      await client.query(
        `INSERT INTO devices SELECT 1 + g, format('02:00:00:00:%s:%s', lpad(to_hex(g / 256), 2, '0'), lpad(to_hex(g % 256), 2, '0'))
         FROM generate_series(1, $1::int) g`,
        [DEVICES],
      );
    });
    const plan = join(folder, `${database}.yaml`);
    await writePlan(plan, 'triggers');
    const names = sideTables(size.tables).map((name) => `  - name: ${name}\n`);
    await writeFile(plan, (await readFile(plan, 'utf8')).replace(/^tables:\n/m, `tables:\n${names.join('')}`));
    const central = await ServiceProcess.start('start:central', {
      DATABASE_URL: databaseUrl,
      SYNC_PLAN: plan,
      SNAPSHOT_STORE: `file:${join(folder, database, 'snapshots')}`,
      LOG_LEVEL: 'warn',
    });
    await promisify(execFile)(process.execPath, [join(projectRoot, 'bin/waypost.mjs'), 'capture', 'install', '--plan', plan], {
      env: { ...process.env, DATABASE_URL: databaseUrl },
    });
    const proxy = await CountingProxy.start(central.url);
    const edge = await ServiceProcess.start('start:edge', {
      DATABASE_URL: servers.urlOf('edge', database),
      CENTRAL_URL: proxy.url,
      DEVICE_MAC,
      DOWNLOAD_DIR: join(folder, database, 'downloads'),
      IDENTITY_DIR: join(folder, database, 'identity'),
      SYNC_INTERVAL: '0',
    });
    return new IdleBench(servers, database, size, central, proxy, edge);
  }

  async measureSyncs(): Promise<IdleSync> {
    await this.sync('Success');
    for (let at = 0; at < 5; at += 1) await this.sync('Unchanged');
    const ms: number[] = [];
    const bytes: number[] = [];
    for (let at = 0; at < SYNCS; at += 1) {
      this.proxy.takeBytes();
      const startedAt = performance.now();
      await this.sync('Unchanged');
      ms.push(performance.now() - startedAt);
      bytes.push(this.proxy.takeBytes());
    }
    return { ...this.size, ms: spreadOf(ms), bytes: spreadOf(bytes) };
  }

  /** Polls as fast as they are answered, and the same against the bare route, in turns; then at half of that rate. */
  async measurePolls(rounds: number, say: (line: string) => void): Promise<Pick<IdleReport, 'polls' | 'bare' | 'half' | 'cpuSeconds'>> {
    const databaseUrl = this.servers.urlOf('central', this.database);
    const macs = await withClient(databaseUrl, async (client) => {
      await client.query(BARE_TABLE);
      return (await client.query<{ mac: string }>('SELECT mac FROM devices WHERE id > 1')).rows.map(({ mac }) => mac);
    });
    const bodies: string[] = [];
    for (const mac of macs) bodies.push(await this.pollOf(mac));
    const bare = await startBareRoute(databaseUrl);
    try {
      const processes = { central: this.central.pid, centralPostgres: this.servers.central.pid };
      const runs: { polls: PollLoad; bare: PollLoad; half: PollLoad; cpuSeconds: Record<string, number> }[] = [];
      // As devices ask.
      const load = { headers: { prefer: PREFER_MINIMAL }, bodies, seconds: LOAD_SECONDS, connections: CONNECTIONS };
      await pollLoad({ url: this.central.url, ...load, seconds: 1 });
      await pollLoad({ url: bare.url, ...load, seconds: 1 });
      for (let round = 1; round <= rounds; round += 1) {
        const { result: polls, cpuSeconds } = await measure(processes, () => pollLoad({ url: this.central.url, ...load }));
        const bareLoad = await pollLoad({ url: bare.url, ...load });
        const half = await pollLoad({ url: this.central.url, ...load, rate: polls.rate / 2 });
        say(`round ${round} of ${rounds}: ${polls.rate.toFixed(0)} polls/s, bare route ${bareLoad.rate.toFixed(0)}/s`);
        runs.push({ polls, bare: bareLoad, half, cpuSeconds });
      }
      const medians = (of: 'polls' | 'bare' | 'half'): PollLoad =>
        mediansByName(runs.map((run) => ({ ...run[of] }))) as unknown as PollLoad;
      return {
        polls: medians('polls'),
        bare: medians('bare'),
        half: medians('half'),
        cpuSeconds: mediansByName(runs.map((run) => run.cpuSeconds)),
      };
    } finally {
      await bare.stop();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.edge[Symbol.asyncDispose]();
    await this.proxy[Symbol.asyncDispose]();
    await this.central[Symbol.asyncDispose]();
  }

  private async sync(status: string): Promise<void> {
    const response = await fetch(`${this.edge.url}/api/sync/now`, { method: 'POST' });
    const text = await response.text();
    if (!response.ok || (JSON.parse(text) as { status: string }).status !== status) {
      throw new Error(`POST /api/sync/now answered ${response.status}: ${text}\nThe end of the edge's log:\n${this.edge.logTail}`);
    }
  }

  /** Gets the device its manifest. @returns the body with which it asks from then on */
  private async pollOf(mac: string): Promise<string> {
    const response = await fetch(`${this.central.url}/api/device-sync/request`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ mac }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${mac} got ${response.status}: ${text}`);
    const { epoch, sequence, manifestId } = (JSON.parse(text) as { manifest: Manifest }).manifest;
    return JSON.stringify({ mac, have: { epoch, sequence, manifestId } });
  }
}

/** Beside the table with the rows; all have its columns. */
function sideTables(tables: number): string[] {
  return Array.from({ length: tables - 1 }, (_, at) => `side_${at + 1}`);
}

async function startBareRoute(databaseUrl: string): Promise<{ url: string; stop: () => Promise<void> }> {
  const port = await freePort();
  const child = spawn(process.execPath, [join(import.meta.dirname, 'bare-route.js')], {
    env: { ...process.env, DATABASE_URL: databaseUrl, PORT: String(port) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const closed = once(child, 'close');
  await Promise.race([once(child.stdout, 'data'), closed]);
  return {
    url: `http://127.0.0.1:${port}`,
    stop: async () => {
      child.kill('SIGTERM');
      await closed;
    },
  };
}
