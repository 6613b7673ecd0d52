import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  PREFER_MINIMAL,
  Frontier,
  leafHash,
  type Receipt,
  receiptSha256,
  type SignedReceipt,
  signReceipt,
  TILE_HEIGHT,
  TILE_WIDTH,
} from '@waypost/contracts';
import type pg from 'pg';
import { Pool } from 'undici';
import { benchFolder } from './bench-folder.js';
import { fillCentral, writePlan } from './dataset.js';
import { enroll, type EnrolledDevice, getTokens, invite, pollBodies } from './enrolled-devices.js';
import type { FullOptions } from './full.js';
import { pollLoad } from './poll-load.js';
import { describeMachine, type Machine } from './machine.js';
import { Servers, withClient } from './servers.js';
import { ServiceProcess } from './service-process.js';
import { type Spread, spreadOf } from './statistics.js';
import { runWaypost } from './waypost-command.js';

const DEVICES = 20;
/** As a device makes in three years of a change a day. */
const RECEIPTS_OF_DEVICE = 1000;
const CONNECTIONS = 64;
const LOAD_SECONDS = 5;
const PROOFS = 200;
const ROWS = 1000;
/** Tiles that are written at once. */
const TILES = 500;

/** The result of `bench ledger`, as --json prints it. */
export interface LedgerReport {
  case: 'ledger';
  date: string;
  machine: Machine;
  versions: { node: string; postgres: string };
  /** Receipts that wait, until they are appended: each batch with its signed checkpoint, committed. */
  append: { receipts: number; perSecond: number };
  /** Polls of devices that are up to date, per second, at the same central before anything was appended. */
  polls: { perSecond: number };
  /** Leaves when the rest was measured. */
  entries: number;
  /** A request over HTTP. */
  inclusionMs: Spread;
  consistencyMs: Spread;
  /** Wall time of the commands, Node's start included. */
  verifyDeviceMs: Spread;
  exportMs: Spread;
  checkMs: Spread;
}

/** What the ledger costs, and its proofs when it is large. @param rows leaves that it has in the end */
export async function runLedger({ rows: leaves, rounds, say, signal }: FullOptions): Promise<LedgerReport> {
  await using run = await benchFolder();
  await using servers = await Servers.start(run.path, signal);
  await servers.createDatabases('ledger');
  const databaseUrl = servers.urlOf('central', 'ledger');
  await withClient(databaseUrl, async (client) => {
    await fillCentral(client, ROWS);
    await client.query('INSERT INTO devices SELECT n, mac::macaddr FROM unnest($1::int[], $2::text[]) AS d(n, mac)', [
      MACS.map((_, at) => at + 2),
      MACS,
    ]);
  });
  const plan = join(run.path, 'ledger.yaml');
  await writePlan(plan, 'triggers');
  await using central = await ServiceProcess.start('start:central', {
    DATABASE_URL: databaseUrl,
    SYNC_PLAN: plan,
    SNAPSHOT_STORE: `file:${join(run.path, 'snapshots')}`,
    LOG_LEVEL: 'warn',
    TOKEN_TTL: '1h',
  });
  await runWaypost(databaseUrl, 'capture', 'install', '--plan', plan);
  const pool = new Pool(central.url, { connections: 1, pipelining: 1 });
  try {
    const devices = await enroll(pool, await invite(databaseUrl, DEVICES), MACS);
    const authorizations = await getTokens(pool, devices);
    const bodies = await pollBodies(pool, MACS, authorizations);
    const load = { url: central.url, headers: { prefer: PREFER_MINIMAL }, bodies, authorizations, connections: CONNECTIONS };
    await pollLoad({ ...load, seconds: 1 });
    const { rate: pollsPerSecond } = await pollLoad({ ...load, seconds: LOAD_SECONDS });
    const writers = devices.map((device) => new Writer(device));
    say(`signing ${(DEVICES * RECEIPTS_OF_DEVICE).toLocaleString('en-US')} receipts`);
    await append(
      databaseUrl,
      writers.flatMap((writer) => writer.write(RECEIPTS_OF_DEVICE)),
    );
    const perSecond = await withClient(databaseUrl, appendRate);
    say(
      `${pollsPerSecond.toFixed(0)} polls and ${perSecond.toFixed(0)} appended per second; growing to ${leaves.toLocaleString('en-US')} leaves`,
    );
    await withClient(databaseUrl, (client) => grow(client, leaves - DEVICES));
    // The last leaves are receipts again, and central signs the whole.
    await append(
      databaseUrl,
      writers.flatMap((writer) => writer.write(1)),
    );
    const [writer] = writers as [Writer];
    const [authorization] = authorizations as [string];
    const size = await withClient(databaseUrl, sizeOf);
    const hashes = Array.from({ length: PROOFS }, (_, at) => writer.hashes[(at * 7919) % writer.hashes.length] as string);
    say('proofs and commands');
    const inclusionMs = await timesOf(hashes, (hash) =>
      get(pool, `/api/ledger/proof/inclusion?receipt=${hash}&size=${size}`, authorization),
    );
    const sizes = Array.from({ length: PROOFS }, (_, at) => 1 + ((at * 7_368_787) % (size - 1)));
    const consistencyMs = await timesOf(sizes, (from) => get(pool, `/api/ledger/proof/consistency?from=${from}&to=${size}`, authorization));
    const bundle = join(run.path, 'bundle.ndjson');
    const times = Array.from({ length: rounds }, (_, at) => at);
    const device = ['--device', writer.device.mac];
    const waypost = (...args: string[]) => runWaypost(databaseUrl, 'ledger', ...args);
    return {
      case: 'ledger',
      date: new Date().toISOString(),
      machine: describeMachine(),
      versions: { node: process.versions.node, postgres: servers.version },
      append: { receipts: DEVICES * RECEIPTS_OF_DEVICE, perSecond },
      polls: { perSecond: pollsPerSecond },
      entries: size,
      inclusionMs,
      consistencyMs,
      verifyDeviceMs: await timesOf(times, () => waypost('verify', ...device)),
      exportMs: await timesOf(times, (at) => waypost('export', ...device, '--out', `${bundle}${at}`)),
      checkMs: await timesOf(times, (at) => waypost('check', `${bundle}${at}`)),
    };
  } finally {
    await pool.destroy();
  }
}

const MACS = Array.from({ length: DEVICES }, (_, at) => `02:00:00:00:00:${(at + 1).toString(16).padStart(2, '0')}`);

interface QueuedReceipt extends SignedReceipt {
  deviceId: string;
}

/** Signs receipts of one device, each after the other. */
class Writer {
  /** Of all receipts, in order. */
  readonly hashes: string[] = [];

  constructor(readonly device: EnrolledDevice) {}

  write(count: number): QueuedReceipt[] {
    return Array.from({ length: count }, () => this.next());
  }

  private next(): QueuedReceipt {
    const { deviceId, fleet, mac, kid, privateKey } = this.device;
    const at = new Date().toISOString();
    const receipt: Receipt = {
      version: 1,
      fleet,
      device: deviceId,
      mac,
      key: kid,
      sequence: this.hashes.length + 1,
      previous: this.hashes.at(-1) ?? null,
      manifestId: '01JZ0000000000000000000000',
      manifestSha256: '0'.repeat(64),
      result: 'Success',
      error: null,
      tables: Array.from({ length: 5 }, (_, table) => ({
        name: `table_${table}`,
        rowCount: 1000,
        sha256: 'a'.repeat(64),
        read: 'changed',
      })),
      startedAt: at,
      completedAt: at,
    };
    const signed = signReceipt(receipt, privateKey);
    this.hashes.push(receiptSha256(signed.body));
    return { ...signed, deviceId };
  }
}

/** Puts receipts into central's queue, as its acks do, and waits until the ledger has them. */
async function append(databaseUrl: string, receipts: readonly QueuedReceipt[]): Promise<void> {
  await withClient(databaseUrl, async (client) => {
    await client.query(
      `INSERT INTO waypost.ledger_queue (kind, device_id, body, signature)
       SELECT 'receipt', r.* FROM unnest($1::text[], $2::text[], $3::text[]) AS r(device_id, body, signature)`,
      [receipts.map(({ deviceId }) => deviceId), receipts.map(({ body }) => body), receipts.map(({ signature }) => signature)],
    );
    while ((await client.query('SELECT FROM waypost.ledger_queue LIMIT 1')).rowCount !== 0) await sleep(20);
  });
}

/** From the first batch's commit to the last one's. */
async function appendRate(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ rate: number }>(
    'SELECT ((max(size) - min(size)) / extract(epoch FROM max(made_at) - min(made_at)))::float8 AS rate FROM waypost.ledger_checkpoints',
  );
  return rows[0]!.rate;
}

async function sizeOf(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ size: number }>('SELECT max(size)::float8 AS size FROM waypost.ledger_checkpoints');
  return rows[0]!.size;
}

interface TilePart {
  level: number;
  tile: number;
  hashes: Buffer[];
}

/** Adds leaves without entries, as those of other devices: the tree has them, and proofs pass through them. */
async function grow(client: pg.Client, leaves: number): Promise<void> {
  const { rows } = await client.query<{ frontier: Buffer }>('SELECT frontier FROM waypost.ledger_head');
  const frontier = Frontier.decode(rows[0]!.frontier);
  const open = new Map<number, TilePart>();
  let full: TilePart[] = [];
  const data = Buffer.alloc(8);
  while (frontier.size < leaves) {
    data.writeDoubleBE(frontier.size);
    for (const { level, index, hash } of frontier.append(leafHash(data))) {
      if (level % TILE_HEIGHT !== 0) continue;
      const tile = Math.floor(index / TILE_WIDTH);
      const part = open.get(level) ?? { level: level / TILE_HEIGHT, tile, hashes: [] };
      part.hashes.push(hash);
      open.set(level, part);
      if (index % TILE_WIDTH !== TILE_WIDTH - 1) continue;
      full.push(part);
      open.delete(level);
    }
    if (full.length < TILES) continue;
    await writeTiles(client, full);
    full = [];
  }
  await writeTiles(client, [...full, ...open.values()]);
  await client.query('UPDATE waypost.ledger_head SET frontier = $1', [frontier.encode()]);
}

async function writeTiles(client: pg.Client, parts: readonly TilePart[]): Promise<void> {
  await client.query(
    `INSERT INTO waypost.ledger_tiles AS t (level, tile, hashes) SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])
     ON CONFLICT (level, tile) DO UPDATE SET hashes = t.hashes || excluded.hashes`,
    [parts.map(({ level }) => level), parts.map(({ tile }) => tile), parts.map(({ hashes }) => Buffer.concat(hashes))],
  );
}

async function timesOf<T>(values: readonly T[], work: (value: T) => Promise<unknown>): Promise<Spread> {
  const times: number[] = [];
  for (const value of values) {
    const startedAt = performance.now();
    await work(value);
    times.push(performance.now() - startedAt);
  }
  return spreadOf(times);
}

async function get(pool: Pool, path: string, authorization: string): Promise<void> {
  const answer = await pool.request({ method: 'GET', path, headers: { authorization } });
  const text = await answer.body.text();
  if (answer.statusCode !== 200) throw new Error(`${path} was answered ${answer.statusCode}: ${text}`);
}
