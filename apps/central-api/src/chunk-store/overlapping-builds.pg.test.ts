import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createPool } from '@waypost/runtime';
import type pg from 'pg';
import { pino } from 'pino';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { temporaryFolder } from '../../../../test/support/temporary-folder.js';
import { installCapture } from '../../testing/capture.js';
import { startCentral } from '../../testing/central.js';
import { contentOf, storeContent } from '../../testing/contents.js';
import { SHOP_1, SHOP_PLAN, SHOP_SCHEMA } from '../../testing/shop.js';
import { runSql } from '../../testing/sql.js';
import { enterBuild } from './builds.js';
import { ChunkCatalog } from './chunk-catalog.js';
import { collectGarbage, type Garbage } from './gc/collect-garbage.js';
import { FileBlobStore } from './blobs/file-blob-store.js';
import { PackStore } from './pack-store.js';
import type { SnapshotId } from './snapshot-store.js';
import { SnapshotSweeper } from '../maintenance/snapshot-sweeper.js';

let server: TestServer;
let url: string;
let pool: pg.Pool;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());
beforeEach(async () => {
  ({ url } = await server.createDatabase('overlap'));
  await runSql(url, SHOP_SCHEMA);
  // For its migrations.
  await (await startCentral({ databaseUrl: url, plan: SHOP_PLAN }))[Symbol.asyncDispose]();
  pool = createPool({ url, applicationName: 'test', maxConnections: 8, onIdleError: () => undefined });
});
afterEach(() => pool?.end());

interface Build extends AsyncDisposable {
  client: pg.PoolClient;
}

/** A build in progress, until it is disposed of. */
async function startBuild(): Promise<Build> {
  const client = await pool.connect();
  await enterBuild(client);
  return {
    client,
    [Symbol.asyncDispose]: async () => {
      await client.query('SELECT pg_advisory_unlock_all()');
      client.release();
    },
  };
}

async function openStore() {
  const folder = await temporaryFolder();
  const [blobs, catalog] = [new FileBlobStore(folder.path), new ChunkCatalog(pool)];
  const store = new PackStore({ blobs, catalog, logger: pino({ level: 'silent' }), limitBytes: Infinity });
  const collect = (maxWaitMs = 60_000): Promise<Garbage | undefined> => {
    const retention = { idleMs: 0, idleCount: 0, keepsShared: false, baseMs: 0 };
    return collectGarbage({ pool, blobs, catalog, retention, maxWaitMs, signal: new AbortController().signal });
  };
  const packs = (): Promise<string[]> => readdir(join(folder.path, 'packs')).catch(() => []);
  return { store, collect, packs, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

async function issue({ sha256, format }: SnapshotId): Promise<void> {
  await pool.query(
    `WITH m AS (INSERT INTO waypost.manifests (manifest_id, epoch, sequence, mac, generated_at, expires_at, sha256, document)
                VALUES ('M', 'e', 1, 'm', now(), now() + interval '1 h', 'x', '{}') RETURNING manifest_id)
     INSERT INTO waypost.sync_manifests (manifest_id, table_name, generated_at, row_count, sha256, format, filter_desc)
     SELECT 'M', 't', now(), 1, $1, $2, '' FROM m`,
    [sha256, format],
  );
}

/** Until a sweep waits for a build, as PostgreSQL tells. */
async function untilSweepWaits(): Promise<void> {
  for (;;) {
    const { rows } = await pool.query(`SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`);
    if (rows.length > 0) return;
  }
}

test('garbage is removed although builds overlap all the time, and a build that starts while a sweep waits waits for nothing', async () => {
  await using bench = await openStore();
  await storeContent(bench.store, contentOf([1, 2, 3]));
  expect(await bench.packs()).toHaveLength(1);
  let current: Build = await startBuild();
  let isOver = false;
  const collecting = bench.collect().finally(() => (isOver = true));
  for (let at = 0; !isOver; at += 1) {
    if (at === 0) await untilSweepWaits();
    // The next begins before the last one ends: at no moment is there none.
    const next = await startBuild();
    const waiting = await next.client.query(`SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND NOT granted`);
    expect(waiting.rows).toEqual([]);
    await current[Symbol.asyncDispose]();
    current = next;
  }
  await current[Symbol.asyncDispose]();
  expect(await collecting).toMatchObject({ contents: 1, chunks: 3, packs: 1 });
  expect(await bench.packs()).toEqual([]);
});

test('what a build in progress counts on stays, although its manifest comes after the sweep has begun', async () => {
  await using bench = await openStore();
  const id = await storeContent(bench.store, contentOf([1, 2, 3]));
  const build = await startBuild();
  // It is there already: nothing is written again.
  expect(await storeContent(bench.store, contentOf([1, 2, 3]))).toEqual(id);
  const collecting = bench.collect();
  await untilSweepWaits();
  await issue(id);
  await build[Symbol.asyncDispose]();
  expect(await collecting).toMatchObject({ contents: 0, chunks: 0, packs: 0 });
  expect(await bench.store.find(id)).toBeDefined();
});

test('what a build stores again after a sweep has marked it stays', async () => {
  await using bench = await openStore();
  const id = await storeContent(bench.store, contentOf([1, 2, 3]));
  const older = await startBuild();
  const collecting = bench.collect();
  await untilSweepWaits();
  const later = await startBuild();
  await storeContent(bench.store, contentOf([1, 2, 3]));
  await older[Symbol.asyncDispose]();
  await collecting.catch(() => undefined);
  await issue(id);
  await later[Symbol.asyncDispose]();
  await bench.collect();
  const stored = (await bench.store.find(id))!;
  let frames = 0;
  for await (const piece of bench.store.openFrames(id, stored)) frames += piece.length;
  expect(frames).toBe(stored.frameBytes);
});

test('a sweep stops waiting for a build that does not end, and removes nothing', async () => {
  await using bench = await openStore();
  const id = await storeContent(bench.store, contentOf([1, 2, 3]));
  await using _build = await startBuild();
  expect(await bench.collect(1)).toBeUndefined();
  expect(await bench.store.find(id)).toBeDefined();
});

test('captured changes are pruned although builds overlap all the time, but none that a build in progress has not seen', async () => {
  await installCapture(url, `${SHOP_PLAN}changes: triggers\n`);
  await using central = await startCentral({ databaseUrl: url, plan: `${SHOP_PLAN}changes: triggers\n` });
  await central.manifestFor(SHOP_1);
  const sweeper = central.app.get(SnapshotSweeper);
  const build = await startBuild();
  await build.client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  const { rows } = await build.client.query<{ seen: string }>('SELECT pg_current_snapshot()::text AS seen');
  await central.sql('UPDATE vaults SET balance = balance + 1');
  await central.sql(`UPDATE waypost.manifests SET expires_at = now() - interval '1 s'`);
  await central.sql('DELETE FROM waypost.table_reads');
  const changes = async (): Promise<number> => (await central.sql('SELECT FROM waypost.changes')).length;
  const before = await changes();
  expect(before).toBeGreaterThan(0);
  const pruning = sweeper.prune();
  await untilSweepWaits();
  const next = await startBuild();
  // Its manifest is there before it ends; what it has not seen must be found.
  await central.sql(
    `INSERT INTO waypost.table_reads (key, epoch, watch, sha256, format, sources, seen) VALUES ('k', 'e', 'w', 's', 'binary', '{}', $1::pg_snapshot)`,
    [rows[0]?.seen],
  );
  await build.client.query('COMMIT');
  await build[Symbol.asyncDispose]();
  expect(await pruning).toBe(0);
  expect(await changes()).toBe(before);
  await central.sql('DELETE FROM waypost.table_reads');
  const again = sweeper.prune();
  await untilSweepWaits();
  const last = await startBuild();
  await next[Symbol.asyncDispose]();
  expect(await again).toBeDefined();
  expect(await changes()).toBe(0);
  await last[Symbol.asyncDispose]();
});
