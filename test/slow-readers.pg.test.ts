import { readdir, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Manifest } from '@waypost/contracts';
import pg from 'pg';
import { residentMemory } from '../bench/process-stats.js';
import { StalledDownloads } from '../bench/stalled-downloads.js';
import { startTestServer } from './support/postgres.js';
import { post, Service } from './support/service.js';
import { temporaryFolder } from './support/temporary-folder.js';

const READERS = 200;
const SLOW_MAC = '02:00:00:00:00:01';
const HEALTHY_MAC = '02:00:00:00:00:02';
/** About 0.7 MB each were measured; buffering whole streams would take 2.5 GB. */
const MAX_GROWTH_BYTES = 300 << 20;
/** Rarely enough to leave the processor to central. */
const POLL_MS = 100;

/** More than the kernel keeps for a connection, and hardly to be compressed. */
const SCHEMA = `
  CREATE TABLE devices (id int PRIMARY KEY, mac macaddr UNIQUE, max_id int);
  INSERT INTO devices VALUES (1, '${SLOW_MAC}', 100000), (2, '${HEALTHY_MAC}', 1000);
  CREATE TABLE items (id int PRIMARY KEY, body bytea NOT NULL);
  INSERT INTO items SELECT g, sha512(g::text::bytea) || sha512('x' || g::text::bytea) FROM generate_series(1, 100000) AS g;`;
const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT id AS device_id, max_id FROM devices WHERE mac = :mac
tables:
  - name: items
    where: id <= :max_id
`;

/** 200 downloads and their ends take three quarters of a minute, and several times that on a busy machine. */
const TIMEOUT_MS = 360_000;

test(
  `${READERS} receivers that take nothing: another device syncs, memory is bounded, and all of them are gone after STALL_TIMEOUT`,
  async () => {
    await using server = await startTestServer();
    await using folder = await temporaryFolder();
    const database = await server.createSide('central');
    const source = new pg.Client({ connectionString: database.ownerUrl });
    await source.connect();
    await source.query(SCHEMA);
    await source.end();
    const plan = join(folder.path, 'plan.yaml');
    const store = join(folder.path, 'snapshots');
    await writeFile(plan, PLAN);
    await using central = await Service.start('central-api', {
      DATABASE_URL: database.serviceUrl,
      SYNC_PLAN: plan,
      SNAPSHOT_STORE: `file:${store}`,
      STALL_TIMEOUT: '10s',
      MAX_DOWNLOADS_PER_DEVICE: String(READERS),
    });
    await using edge = await Service.start('edge-service', {
      DATABASE_URL: (await server.createSide('edge')).serviceUrl,
      CENTRAL_URL: central.url,
      DEVICE_MAC: HEALTHY_MAC,
      SYNC_INTERVAL: '0',
      DOWNLOAD_DIR: join(folder.path, 'downloads'),
    });
    const { body } = await post<{ manifest: Manifest }>(`${central.url}/api/device-sync/request`, { mac: SLOW_MAC });
    const before = await residentMemory(central.pid);

    using readers = await StalledDownloads.open(central.url, body.manifest, 'items', READERS);
    await untilOpenFiles(central.pid, store, (count) => count === READERS || readers.ended > 0);
    expect(readers.ended).toBe(0); // else central dropped the first before it had opened the last
    expect((await post(`${edge.url}/api/sync/now`)).body).toMatchObject({ status: 'Success', ack: 'sent' });
    const during = await residentMemory(central.pid);
    expect((during?.bytes ?? NaN) - (before?.bytes ?? NaN)).toBeLessThan(MAX_GROWTH_BYTES);

    await untilOpenFiles(central.pid, store, (count) => count === 0);
    expect(await readers.drain()).toBe(0);
    expect((await post(`${central.url}/api/device-sync/request`, { mac: SLOW_MAC })).status).toBe(200);
  },
  TIMEOUT_MS,
);

/** Waits until the number of files below `folder` that a process has open is as wanted. */
async function untilOpenFiles(pid: number, folder: string, isWanted: (count: number) => boolean): Promise<void> {
  while (!isWanted(await countOpenFiles(pid, folder))) await sleep(POLL_MS);
}

async function countOpenFiles(pid: number, folder: string): Promise<number> {
  const names = await readdir(`/proc/${pid}/fd`);
  const files = await Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')));
  return files.filter((file) => file.startsWith(folder)).length;
}
