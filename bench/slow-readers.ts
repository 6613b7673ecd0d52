import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { chunkStreamPath, type Manifest } from '@waypost/contracts';
import { benchFolder } from './bench-folder.js';
import { DEVICE_MAC, fillCentral, TABLE } from './dataset.js';
import type { FullOptions } from './full.js';
import { describeMachine, type Machine } from './machine.js';
import { residentMemory } from './process-stats.js';
import { Servers, withClient } from './servers.js';
import { ServiceProcess } from './service-process.js';
import { StalledDownloads } from './stalled-downloads.js';
import { type Latency, latencyOf } from './statistics.js';

const READERS = 200;
const SYNCS_PER_PHASE = 150;
const HEALTHY_MAC = '48:b0:2d:00:00:01';
const HEALTHY_ROWS = 500;
const PLAN = `version: 1
schemaVersion: 1
scope:
  query: SELECT id AS device_id, max_id FROM devices WHERE mac = :mac
tables:
  - name: ${TABLE}
    where: id <= :max_id
`;

/** The result of `bench slow-readers`, as --json prints it. */
export interface SlowReadersReport {
  case: 'slow-readers';
  date: string;
  machine: Machine;
  versions: { node: string; postgres: string };
  readers: number;
  syncs: number;
  streamBytes: number;
  /** Milliseconds of a healthy device's request, download and ack together. */
  alone: Latency;
  beside: Latency;
  ratioP99: number;
  /** Of central; absent where there is no /proc. */
  memory?: { aloneBytes: number; besideBytes: number; peakBytes: number };
}

/**
 * What a healthy device's sync takes at central alone, and beside 200 downloads that are not read; the two change places in each round, so
 * that the ratio does not depend on what else the machine does.
 */
export async function runSlowReaders({ rows, rounds, say, signal }: FullOptions): Promise<SlowReadersReport> {
  await using run = await benchFolder();
  const folder = run.path;
  await using servers = await Servers.start(folder, signal);
  say(`filling ${rows.toLocaleString('en-US')} rows`);
  await servers.createDatabases('slow');
  await withClient(servers.urlOf('central', 'slow'), async (client) => {
    await fillCentral(client, rows);
    await client.query('ALTER TABLE devices ADD max_id bigint');
    await client.query('UPDATE devices SET max_id = $1', [rows]);
    await client.query('INSERT INTO devices VALUES (2, $1, $2)', [HEALTHY_MAC, HEALTHY_ROWS]);
  });
  await writeFile(join(folder, 'plan.yaml'), PLAN);
  await using central = await ServiceProcess.start('start:central', {
    DATABASE_URL: servers.urlOf('central', 'slow'),
    SYNC_PLAN: join(folder, 'plan.yaml'),
    SNAPSHOT_STORE: `file:${join(folder, 'snapshots')}`,
    // All of them are one device's, and they are to stay.
    MAX_DOWNLOADS_PER_DEVICE: String(READERS),
    STALL_TIMEOUT: '1h',
  });
  const result = await measureRounds(central, rounds, say);
  return {
    case: 'slow-readers',
    date: new Date().toISOString(),
    machine: describeMachine(),
    versions: { node: process.versions.node, postgres: servers.version },
    ...result,
  };
}

async function measureRounds(central: ServiceProcess, rounds: number, say: (line: string) => void) {
  const manifest = await requestManifest(central.url, DEVICE_MAC);
  await syncs(central.url, 50); // warm
  const alone: number[] = [];
  const beside: number[] = [];
  // Before any reader came: what they cost stays with the process for a while.
  const aloneBytes = (await residentMemory(central.pid))?.bytes ?? NaN;
  let besideBytes = NaN;
  for (let round = 1; round <= rounds; round += 1) {
    alone.push(...(await syncs(central.url, SYNCS_PER_PHASE)));
    using _readers = await StalledDownloads.open(central.url, manifest, TABLE, READERS);
    beside.push(...(await syncs(central.url, SYNCS_PER_PHASE)));
    besideBytes = (await residentMemory(central.pid))?.bytes ?? NaN;
    say(`round ${round} of ${rounds}: p99 ${latencyOf(alone).p99.toFixed(1)} ms alone, ${latencyOf(beside).p99.toFixed(1)} ms beside`);
  }
  const peak = await residentMemory(central.pid);
  return {
    readers: READERS,
    syncs: alone.length,
    streamBytes: manifest.tables[0]?.streamBytes ?? NaN,
    alone: latencyOf(alone),
    beside: latencyOf(beside),
    ratioP99: latencyOf(beside).p99 / latencyOf(alone).p99,
    ...(peak ? { memory: { aloneBytes, besideBytes, peakBytes: peak.peakBytes } } : {}),
  };
}

/** One healthy device's syncs, one after another. @returns milliseconds of each */
async function syncs(url: string, count: number): Promise<number[]> {
  const took: number[] = [];
  for (let at = 0; at < count; at += 1) {
    const startedAt = performance.now();
    const { manifestId, device, tables } = await requestManifest(url, HEALTHY_MAC);
    const stream = await fetch(`${url}${chunkStreamPath(manifestId, TABLE)}?mac=${device.mac}`);
    if ((await stream.arrayBuffer()).byteLength !== tables[0]?.streamBytes) throw new Error('A healthy download was not whole.');
    await postJson(`${url}/api/device-sync/ack`, {
      manifestId,
      mac: device.mac,
      status: 'Success',
      localCounts: { [TABLE]: tables[0].rowCount },
      localChecksums: { [TABLE]: tables[0].sha256 },
      durationMs: at,
    });
    took.push(performance.now() - startedAt);
  }
  return took;
}

async function requestManifest(url: string, mac: string): Promise<Manifest> {
  return ((await postJson(`${url}/api/device-sync/request`, { mac })) as { manifest: Manifest }).manifest;
}

async function postJson(url: string, body: object): Promise<unknown> {
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text}`);
  return JSON.parse(text);
}
