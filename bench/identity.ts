import { readFile } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chunkStreamPath, type Manifest, PREFER_MINIMAL } from '@waypost/contracts';
import { Pool } from 'undici';
import { benchFolder } from './bench-folder.js';
import { CountingProxy } from './counting-proxy.js';
import { DEVICE_MAC, fillCentral, TABLE, writePlan } from './dataset.js';
import { enroll, type EnrolledDevice, getToken, getTokens, invite, pollBodies, requestManifest, tokenRequest } from './enrolled-devices.js';
import type { FullOptions } from './full.js';
import { describeMachine, type Machine } from './machine.js';
import { pollLoad, type PollLoad } from './poll-load.js';
import { Servers, withClient } from './servers.js';
import { ServiceProcess } from './service-process.js';
import { mediansByName, type Spread, spreadOf } from './statistics.js';
import { runWaypost } from './waypost-command.js';

const SYNCS = 50;
/** That poll. As many more poll by their MACs. */
const POLLING = 500;
/** That renew their access tokens at once. */
const RENEWING = 1000;
const CONNECTIONS = 64;
const LOAD_SECONDS = 5;
const REVOKED = 5;

/** The result of `bench identity`, as --json prints it. */
export interface IdentityReport {
  case: 'identity';
  date: string;
  machine: Machine;
  versions: { node: string; postgres: string };
  /** Medians of the rounds: devices with access tokens, and devices that name their MACs, at one central in turns. */
  byToken: PollLoad;
  byMac: PollLoad;
  devices: number;
  /** Access tokens per second, of devices that ask at once. */
  renewals: { devices: number; perSecond: Spread };
  /** sync/now over TLS with an access token and a signed manifest. */
  sync: { ms: Spread; bytes: Spread };
  /** From the commit of a revocation to the first refusal, and to the end of what the device is being sent. */
  revocation: { requestMs: Spread; streamMs: Spread };
}

/** What it costs to know who asks. */
export async function runIdentity({ rows, rounds, say, signal }: FullOptions): Promise<IdentityReport> {
  await using run = await benchFolder();
  await using servers = await Servers.start(run.path, signal);
  await using bench = await IdentityBench.start(servers, run.path, rows, say);
  const polls = await bench.measurePolls(rounds);
  const renewals = await bench.measureRenewals(rounds);
  const revocation = await bench.measureRevocation();
  say('a device that syncs over TLS');
  return {
    case: 'identity',
    date: new Date().toISOString(),
    machine: describeMachine(),
    versions: { node: process.versions.node, postgres: servers.version },
    ...polls,
    devices: POLLING,
    renewals: { devices: RENEWING, perSecond: renewals },
    sync: await bench.measureSync(),
    revocation,
  };
}

class IdentityBench implements AsyncDisposable {
  private readonly databaseUrl: string;
  private readonly pool: Pool;
  private devices: EnrolledDevice[] = [];

  private constructor(
    private readonly servers: Servers,
    private readonly folder: string,
    private readonly env: Record<string, string>,
    private readonly central: ServiceProcess,
    private readonly say: (line: string) => void,
  ) {
    this.databaseUrl = env['DATABASE_URL'] as string;
    this.pool = new Pool(central.url, { connections: CONNECTIONS, pipelining: 1 });
  }

  static async start(servers: Servers, folder: string, rows: number, say: (line: string) => void): Promise<IdentityBench> {
    await servers.createDatabases('identity');
    const databaseUrl = servers.urlOf('central', 'identity');
    say(`filling ${rows.toLocaleString('en-US')} rows`);
    await withClient(databaseUrl, async (client) => {
      await fillCentral(client, rows);
      await client.query('INSERT INTO devices SELECT n, mac::macaddr FROM unnest($1::int[], $2::text[]) AS d(n, mac)', [
        MACS.map((_, at) => at + 2),
        MACS,
      ]);
    });
    const plan = join(folder, 'identity.yaml');
    await writePlan(plan, 'triggers');
    const env = {
      DATABASE_URL: databaseUrl,
      SYNC_PLAN: plan,
      SNAPSHOT_STORE: `file:${join(folder, 'snapshots')}`,
      LOG_LEVEL: 'warn',
      TOKEN_TTL: '1h',
      ENROLLMENT_LIMIT: 'off',
    };
    const central = await ServiceProcess.start('start:central', env);
    await runWaypost(databaseUrl, 'capture', 'install', '--plan', plan);
    const bench = new IdentityBench(servers, folder, env, central, say);
    say(`enrolling ${RENEWING} devices`);
    bench.devices = await enroll(bench.pool, await invite(databaseUrl, RENEWING), MACS.slice(POLLING));
    return bench;
  }

  /** Devices that are up to date: with an access token, and by MAC, in turns. */
  async measurePolls(rounds: number): Promise<{ byToken: PollLoad; byMac: PollLoad }> {
    const polling = this.devices.slice(0, POLLING);
    const authorizations = await getTokens(this.pool, polling);
    const common = { url: this.central.url, headers: { prefer: PREFER_MINIMAL }, seconds: LOAD_SECONDS, connections: CONNECTIONS };
    const ways = {
      byToken: {
        ...common,
        authorizations,
        bodies: await pollBodies(
          this.pool,
          polling.map(({ mac }) => mac),
          authorizations,
        ),
      },
      byMac: { ...common, bodies: await pollBodies(this.pool, MACS.slice(0, POLLING)) },
    };
    const runs: { byToken: PollLoad; byMac: PollLoad }[] = [];
    for (const way of Object.values(ways)) await pollLoad({ ...way, seconds: 1 });
    for (let round = 1; round <= rounds; round += 1) {
      const [byToken, byMac] = [await pollLoad(ways.byToken), await pollLoad(ways.byMac)];
      this.say(`round ${round} of ${rounds}: ${byToken.rate.toFixed(0)} polls/s with access tokens, ${byMac.rate.toFixed(0)}/s by MAC`);
      runs.push({ byToken, byMac });
    }
    const medians = (of: 'byToken' | 'byMac') => mediansByName(runs.map((run) => ({ ...run[of] }))) as unknown as PollLoad;
    return { byToken: medians('byToken'), byMac: medians('byMac') };
  }

  /** All devices at once, each with an assertion that it has signed before. */
  async measureRenewals(rounds: number): Promise<Spread> {
    const rates: number[] = [];
    for (let round = 0; round <= rounds; round += 1) {
      const bodies = await Promise.all(this.devices.map(tokenRequest));
      const startedAt = performance.now();
      await Promise.all(this.devices.map((device, at) => getToken(this.pool, device, bodies[at] as string)));
      // The first round warms up.
      if (round > 0) rates.push((this.devices.length * 1000) / (performance.now() - startedAt));
    }
    this.say(`access tokens per second: ${rates.map((rate) => rate.toFixed(0)).join(', ')}`);
    return spreadOf(rates);
  }

  async measureRevocation(): Promise<IdentityReport['revocation']> {
    const requestMs: number[] = [];
    const streamMs: number[] = [];
    for (const device of this.devices.slice(-REVOKED)) {
      const [authorization] = (await getTokens(this.pool, [device])) as [string];
      const manifest = await requestManifest(this.pool, device.mac, authorization);
      const stream = await this.openStream(manifest, authorization);
      const { localPort } = stream.socket;
      // A slow reader: the stream is open for as long as it may.
      const reading = setInterval(() => void stream.read(16 << 10), 50);
      await withClient(this.databaseUrl, (client) =>
        client.query('UPDATE waypost.devices SET revoked_at = now() WHERE id = $1', [device.deviceId]),
      );
      const revokedAt = performance.now();
      while (await this.isAnswered(device.mac, authorization)) await sleep(1);
      requestMs.push(performance.now() - revokedAt);
      // Until central's kernel has nothing more to send: what the device's own kernel has received cannot be taken back.
      while (await isConnected(Number(new URL(this.central.url).port), localPort as number)) await sleep(20);
      clearInterval(reading);
      stream.destroy();
      streamMs.push(performance.now() - revokedAt);
    }
    return { requestMs: spreadOf(requestMs), streamMs: spreadOf(streamMs) };
  }

  /** Another central process of the same fleet, over TLS. */
  async measureSync(): Promise<IdentityReport['sync']> {
    const certificates = join(this.folder, 'certificates');
    await runWaypost(this.databaseUrl, 'certs', 'init', '--dir', certificates);
    await runWaypost(this.databaseUrl, 'certs', 'server', '--dir', certificates, '--host', '127.0.0.1');
    const caFile = join(certificates, 'ca.crt');
    const tls = { AUTH: 'device', TLS_CERT: join(certificates, 'server.crt'), TLS_KEY: join(certificates, 'server.key') };
    await using central = await ServiceProcess.start('start:central', { ...this.env, ...tls }, await readFile(caFile, 'utf8'));
    await using proxy = await CountingProxy.start(central.url);
    await using edge = await ServiceProcess.start('start:edge', {
      DATABASE_URL: this.servers.urlOf('edge', 'identity'),
      CENTRAL_URL: `https://127.0.0.1:${proxy.port}`,
      CENTRAL_CA: caFile,
      ENROLLMENT_TOKEN: await invite(this.databaseUrl, 1),
      DEVICE_MAC,
      DOWNLOAD_DIR: join(this.folder, 'downloads'),
      IDENTITY_DIR: join(this.folder, 'identity'),
      SYNC_INTERVAL: '0',
    });
    await syncNow(edge, 'Success');
    for (let at = 0; at < 5; at += 1) await syncNow(edge, 'Unchanged');
    const [ms, bytes]: [number[], number[]] = [[], []];
    for (let at = 0; at < SYNCS; at += 1) {
      proxy.takeBytes();
      const startedAt = performance.now();
      await syncNow(edge, 'Unchanged');
      ms.push(performance.now() - startedAt);
      bytes.push(proxy.takeBytes());
    }
    return { ms: spreadOf(ms), bytes: spreadOf(bytes) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool.destroy();
    await this.central[Symbol.asyncDispose]();
  }

  private async isAnswered(mac: string, authorization: string): Promise<boolean> {
    const headers = { 'content-type': 'application/json', authorization };
    const answer = await this.pool.request({ method: 'POST', path: '/api/device-sync/request', headers, body: JSON.stringify({ mac }) });
    await answer.body.dump();
    return answer.statusCode === 200;
  }

  private async openStream({ manifestId, device }: Manifest, authorization: string): Promise<IncomingMessage> {
    const url = `${this.central.url}${chunkStreamPath(manifestId, TABLE)}?mac=${encodeURIComponent(device.mac)}`;
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    request(url, { headers: { authorization } }, resolve).on('error', reject).end();
    const stream = await promise;
    if (stream.statusCode !== 200) throw new Error(`a chunk stream was answered ${stream.statusCode}`);
    return stream.on('error', () => undefined);
  }
}

/** Whether there is a TCP connection between these ports of this machine, or the rest of one that is still being sent. */
async function isConnected(from: number, to: number): Promise<boolean> {
  const ends = [from, to].map((port) => `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} `).join('');
  return (await readFile('/proc/net/tcp', 'utf8')).includes(` ${ends}`);
}

/** By MAC first, then those that enroll. */
const MACS = Array.from({ length: POLLING + RENEWING }, (_, at) => {
  const hex = (at + 1).toString(16).padStart(4, '0');
  return `02:00:00:00:${hex.slice(0, 2)}:${hex.slice(2)}`;
});

async function syncNow(edge: ServiceProcess, status: string): Promise<void> {
  const response = await fetch(`${edge.url}/api/sync/now`, { method: 'POST' });
  const text = await response.text();
  if (!response.ok || (JSON.parse(text) as { status: string }).status !== status) {
    throw new Error(`POST /api/sync/now answered ${response.status}: ${text}\nThe end of the edge's log:\n${edge.logTail}`);
  }
}
