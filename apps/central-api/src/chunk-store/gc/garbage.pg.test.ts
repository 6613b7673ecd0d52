import { randomBytes } from 'node:crypto';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ChunkIndex, sha256 } from '@waypost/contracts';
import { createPool } from '@waypost/runtime';
import fc from 'fast-check';
import type pg from 'pg';
import { pino } from 'pino';
import { startTestServer, type TestServer } from '../../../../../test/support/postgres.js';
import { temporaryFolder } from '../../../../../test/support/temporary-folder.js';
import { startCentral } from '../../../testing/central.js';
import { readTable } from '../../../testing/chunk-streams.js';
import { SHOP_PLAN, SHOP_SCHEMA } from '../../../testing/shop.js';
import { runSql } from '../../../testing/sql.js';
import { enterBuild } from '../builds.js';
import { ChunkCatalog } from '../chunk-catalog.js';
import { collectGarbage, type Garbage, type Retention } from './collect-garbage.js';
import { FileBlobStore } from '../blobs/file-blob-store.js';
import { PackStore } from '../pack-store.js';
import type { SnapshotId } from '../snapshot-store.js';
import { contentOf, storeContent } from '../../../testing/contents.js';

const KEEP_NOTHING = { idleMs: 0, idleCount: 0, keepsShared: false, baseMs: 0 };

let server: TestServer;
let url: string;
let pool: pg.Pool;

beforeAll(async () => {
  server = await startTestServer();
  url = (await server.createDatabase('garbage')).url;
  await runSql(url, SHOP_SCHEMA);
  // For its migrations.
  await (await startCentral({ databaseUrl: url, plan: SHOP_PLAN }))[Symbol.asyncDispose]();
  pool = createPool({ url, applicationName: 'test', maxConnections: 12, onIdleError: () => undefined });
});
afterAll(async () => {
  await pool?.end();
  await server?.[Symbol.asyncDispose]();
});
beforeEach(() =>
  pool.query('TRUNCATE waypost.manifests, waypost.sync_manifests, waypost.packs, waypost.chunks, waypost.table_contents CASCADE'),
);

interface Bench extends AsyncDisposable {
  store: PackStore;
  folder: string;
  collect: (maxWaitMs?: number, retention?: Retention) => Promise<Garbage | undefined>;
}

async function openBench(): Promise<Bench> {
  const folder = await temporaryFolder();
  const catalog = new ChunkCatalog(pool);
  const blobs = new FileBlobStore(folder.path);
  const store = new PackStore({ blobs, catalog, logger: pino({ level: 'silent' }), limitBytes: Infinity });
  return {
    store,
    folder: folder.path,
    collect: (maxWaitMs = 10_000, retention = KEEP_NOTHING) =>
      collectGarbage({ pool, blobs, catalog, retention, maxWaitMs, signal: new AbortController().signal }),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

let manifests = 0;
async function issue(id: SnapshotId): Promise<string> {
  const manifestId = `M${(manifests += 1)}`;
  await pool.query(
    `WITH m AS (INSERT INTO waypost.manifests (manifest_id, epoch, sequence, mac, generated_at, expires_at, sha256, document)
                VALUES ($1, 'e', $2, 'm', now(), now() + interval '1 h', 'x', '{}') RETURNING manifest_id)
     INSERT INTO waypost.sync_manifests (manifest_id, table_name, generated_at, row_count, sha256, format, filter_desc)
     SELECT $1, 't', now(), 1, $3, $4, '' FROM m`,
    [manifestId, manifests, id.sha256, id.format],
  );
  return manifestId;
}

async function expire(manifestId: string): Promise<void> {
  await pool.query(`UPDATE waypost.manifests SET expires_at = now() - interval '1 s' WHERE manifest_id = $1`, [manifestId]);
}

/** As a request does: there is no sweep between what is stored and the manifest that names it. */
async function build(store: PackStore, parts: readonly number[]): Promise<{ id: SnapshotId; manifestId: string }> {
  const client = await pool.connect();
  try {
    await enterBuild(client);
    const id = await storeContent(store, contentOf(parts));
    return { id, manifestId: await issue(id) };
  } finally {
    await client.query('SELECT pg_advisory_unlock_all()');
    client.release();
  }
}

/** Whole, and by ranges. */
async function read(store: PackStore, id: SnapshotId): Promise<void> {
  const stored = await store.find(id);
  if (!stored) throw new Error(`${id.sha256} is missing`);
  const pieces: Buffer[] = [stored.index];
  for await (const piece of store.openFrames(id, stored)) pieces.push(piece);
  const whole = Buffer.concat(pieces);
  const { sha256 } = readTable(whole).index.totals();
  if (sha256 !== id.sha256) throw new Error(`${id.sha256} holds ${sha256}`);
  for (const start of [1, stored.index.length + 1, whole.length - 1]) {
    if (!(await readRange(store, id, start)).equals(whole.subarray(start))) throw new Error(`${id.sha256} is another from ${start} on`);
  }
}

async function readRange(store: PackStore, id: SnapshotId, start: number): Promise<Buffer> {
  const size = await store.measureStream(id, { isWhole: false });
  if (!size) throw new Error(`${id.sha256} is missing`);
  const pieces: Buffer[] = [];
  for await (const piece of store.openStream(id, size, start)) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function packs({ folder }: Bench): Promise<string[]> {
  return readdir(join(folder, 'packs')).catch(() => []);
}

const parts = fc.uniqueArray(fc.nat(40), { minLength: 1, maxLength: 15 });
const step = fc.oneof(
  { weight: 4, arbitrary: parts.map((chunks) => ({ kind: 'build' as const, chunks })) },
  { weight: 2, arbitrary: fc.nat(20).map((at) => ({ kind: 'expire' as const, at })) },
  { weight: 2, arbitrary: fc.constant({ kind: 'collect' as const }) },
  { weight: 3, arbitrary: fc.nat(20).map((at) => ({ kind: 'read' as const, at })) },
);

test('whatever is built, read, expired and collected side by side, in whatever order: what a live manifest names can be read', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(step, { minLength: 1, maxLength: 5 }), { minLength: 3, maxLength: 8 }), async (rounds) => {
      await using bench = await openBench();
      await pool.query('TRUNCATE waypost.manifests, waypost.sync_manifests, waypost.packs, waypost.chunks, waypost.table_contents CASCADE');
      const live = new Map<string, SnapshotId>();
      for (const round of rounds) {
        const before = [...live];
        // What expires in this round may be read or not: it is not looked at.
        const expiring = new Set(round.flatMap((one) => (one.kind === 'expire' ? (before[one.at % before.length]?.[0] ?? []) : [])));
        for (const manifestId of expiring) live.delete(manifestId);
        const steady = [...live];
        await Promise.all([
          ...[...expiring].map(expire),
          ...round.map(async (one) => {
            if (one.kind === 'build') {
              const { id, manifestId } = await build(bench.store, one.chunks);
              live.set(manifestId, id);
            } else if (one.kind === 'collect') {
              await bench.collect();
            } else if (one.kind === 'read' && steady.length > 0) {
              await read(bench.store, (steady[one.at % steady.length] as [string, SnapshotId])[1]);
            }
          }),
        ]);
        for (const id of live.values()) await read(bench.store, id);
      }
      // And nothing stays for ever.
      for (const manifestId of live.keys()) await expire(manifestId);
      await pool.query(`UPDATE waypost.packs SET retired_at = retired_at - interval '1 day'`);
      await bench.collect();
      expect(await packs(bench)).toEqual([]);
      const { rows } = await pool.query(
        'SELECT FROM waypost.packs UNION ALL SELECT FROM waypost.chunks UNION ALL SELECT FROM waypost.table_contents',
      );
      expect(rows).toEqual([]);
    }),
    { numRuns: 50 },
  );
});

/** The device proves that it holds a manifest. */
async function prove(manifestId: string): Promise<void> {
  await pool.query(
    `INSERT INTO waypost.device_states (mac, first_seen_at, last_request_at, last_manifest_id, filters, verified_manifest_id, verified_sequence, verified_epoch, verified_at)
     SELECT mac, now(), now(), manifest_id, '{}', manifest_id, sequence, epoch, now() FROM waypost.manifests WHERE manifest_id = $1
     ON CONFLICT (mac) DO UPDATE SET verified_manifest_id = excluded.verified_manifest_id, verified_sequence = excluded.verified_sequence`,
    [manifestId],
  );
}

describe('a device that proves what it holds', () => {
  afterEach(() => pool.query('TRUNCATE waypost.device_states'));

  test('what its manifests before that name goes; that one and those after it stay', async () => {
    await using bench = await openBench();
    const [first, second, third] = [await build(bench.store, [1, 2]), await build(bench.store, [2, 3]), await build(bench.store, [3, 4])];
    await bench.collect();
    for (const { id } of [first, second, third]) await read(bench.store, id);
    await prove(second.manifestId);
    expect(await bench.collect()).toMatchObject({ contents: 1, chunks: 1 });
    expect(await bench.store.find(first.id)).toBeUndefined();
    for (const { id } of [second, third]) await read(bench.store, id);
    await prove(third.manifestId);
    await bench.collect();
    expect(await bench.store.find(second.id)).toBeUndefined();
    await read(bench.store, third.id);
  });

  test('of two devices with one content both must have gone on', async () => {
    await using bench = await openBench();
    const [first, second] = [await build(bench.store, [1, 2]), await build(bench.store, [2, 3])];
    const others = await build(bench.store, [1, 2]);
    await pool.query("UPDATE waypost.manifests SET mac = 'another' WHERE manifest_id = $1", [others.manifestId]);
    await prove(second.manifestId);
    await bench.collect();
    await read(bench.store, first.id);
    await expire(others.manifestId);
    await bench.collect();
    expect(await bench.store.find(first.id)).toBeUndefined();
  });

  test('what it holds stays when its manifest has expired, for as long as it may be a base', async () => {
    await using bench = await openBench();
    const [held, later] = [await build(bench.store, [1, 2]), await build(bench.store, [2, 3])];
    await prove(held.manifestId);
    for (const { manifestId } of [held, later]) await expire(manifestId);
    const withBases = { ...KEEP_NOTHING, baseMs: 3_600_000 };
    await bench.collect(undefined, withBases);
    await read(bench.store, held.id);
    expect(await bench.store.find(later.id)).toBeUndefined();
    await pool.query("UPDATE waypost.device_states SET verified_at = now() - interval '2 h'");
    await bench.collect(undefined, withBases);
    expect(await bench.store.find(held.id)).toBeUndefined();
  });
});

test('a store that has grown by a part of what it had says so', async () => {
  await using bench = await openBench();
  let calls = 0;
  bench.store.onGrown = () => (calls += 1);
  const add = (): Promise<unknown> => {
    const bytes = randomBytes(9 << 20);
    return storeContent(bench.store, [{ digest: sha256(bytes), bytes, rowCount: 1 }]);
  };
  await add();
  expect(calls).toBe(0); // what it had is not known yet
  await bench.store.measure();
  await add();
  expect(calls).toBe(0);
  await add();
  expect(calls).toBe(1);
  await bench.store.measure();
  await add();
  expect(calls).toBe(1);
});

test('a pack of which less than half is needed is rewritten, and a reader in progress goes on', async () => {
  await using bench = await openBench();
  const large = await build(bench.store, [1, 2, 3, 4, 5, 6, 7, 8]);
  const small = await build(bench.store, [2, 5]);
  const before = await packs(bench);
  expect(before).toHaveLength(1);
  const stored = (await bench.store.find(small.id))!;
  const frames = bench.store.openFrames(small.id, stored);
  const pieces = [stored.index, (await frames.next()).value as Buffer];
  await expire(large.manifestId);
  expect(await bench.collect()).toMatchObject({ contents: 1, chunks: 6, packs: 0, compacted: 1 });

  await read(bench.store, small.id);
  const { rows } = await pool.query<{ packs: string[] }>('SELECT packs FROM waypost.table_contents');
  expect(rows).toHaveLength(1);
  expect(before).not.toContain(`${rows[0]?.packs.join()}.pack`);
  // The old one stays for a while, and is gone then.
  expect(await packs(bench)).toHaveLength(2);
  await pool.query(`UPDATE waypost.packs SET retired_at = retired_at - interval '1 day'`);
  expect(await bench.collect()).toMatchObject({ packs: 1 });
  expect(await packs(bench)).toEqual([`${rows[0]?.packs.join()}.pack`]);
  for await (const piece of frames) pieces.push(piece);
  expect(readTable(Buffer.concat(pieces)).index.totals().sha256).toBe(small.id.sha256);
});

test.each(['locate', 'locatePart'] as const)(
  'a reader whose pack was compacted away between its lookup (%s) and its reading looks once more',
  async (lookup) => {
    await using bench = await openBench();
    const large = await build(bench.store, [1, 2, 3, 4, 5, 6, 7, 8]);
    const small = await build(bench.store, [2, 5]);
    const catalog = bench.store.parts.catalog;
    const original = catalog[lookup].bind(catalog) as (...values: unknown[]) => Promise<never>;
    let lookups = 0;
    catalog[lookup] = async (...values: unknown[]) => {
      const places = await original(...values);
      if ((lookups += 1) === 1) {
        await expire(large.manifestId);
        await bench.collect();
        await pool.query(`UPDATE waypost.packs SET retired_at = retired_at - interval '1 day'`);
        await bench.collect();
      }
      return places;
    };
    const range = lookup === 'locatePart' ? await readRange(bench.store, small.id, 1) : undefined;
    if (!range) await read(bench.store, small.id);
    expect(lookups).toBe(2);
    if (range) expect(range.equals(await readRange(bench.store, small.id, 1))).toBe(true);
  },
);

test('many small packs become one', async () => {
  await using bench = await openBench();
  const built: SnapshotId[] = [];
  for (let at = 0; at < 34; at += 1) built.push((await build(bench.store, [at])).id);
  expect(await packs(bench)).toHaveLength(34);
  expect(await bench.collect()).toMatchObject({ compacted: 34 });
  await pool.query(`UPDATE waypost.packs SET retired_at = retired_at - interval '1 day'`);
  await bench.collect();
  expect(await packs(bench)).toHaveLength(1);
  for (const id of built) await read(bench.store, id);
});

test('whatever a killed collection left half done, the next one ends', async () => {
  await using bench = await openBench();
  const gone = await build(bench.store, [1, 2, 3]);
  const kept = await build(bench.store, [3, 4]);
  await expire(gone.manifestId);
  // Marked, among them what is needed after all, and not removed; a compacted pack whose rows were not moved; files of removed packs.
  await pool.query('UPDATE waypost.chunks SET unneeded = true');
  const [any] = await packs(bench);
  await writeFile(
    join(bench.folder, 'packs', '01J00000000000000000000000.pack'),
    await readFile(join(bench.folder, 'packs', any as string)),
  );
  await pool.query(
    `INSERT INTO waypost.packs (pack_id, bytes, retired_at) VALUES ('01J00000000000000000000001', 1, now() - interval '1 day')`,
  );
  expect(await bench.collect()).toMatchObject({ contents: 1, chunks: 2, files: 1 });
  await read(bench.store, kept.id);
  expect((await pool.query('SELECT FROM waypost.chunks WHERE unneeded')).rowCount).toBe(0);
});

test('what is about to be removed is written again by a build that needs it, and stays', async () => {
  await using bench = await openBench();
  const first = await build(bench.store, [1, 2, 3]);
  await expire(first.manifestId);
  await pool.query('DELETE FROM waypost.table_contents; UPDATE waypost.chunks SET unneeded = true');
  const again = await build(bench.store, [1, 2, 3]);
  await read(bench.store, again.id);
  await bench.collect();
  await read(bench.store, again.id);
  expect(await packs(bench)).toHaveLength(1);
});

test('chunks in a pack that is lost while it is compacted are forgotten, and built again', async () => {
  await using bench = await openBench();
  const large = await build(bench.store, [1, 2, 3, 4, 5, 6, 7, 8]);
  const small = await build(bench.store, [2, 5]);
  await expire(large.manifestId);
  for (const pack of await packs(bench)) await rm(join(bench.folder, 'packs', pack));
  await bench.collect();
  expect(await bench.store.find(small.id)).toBeUndefined();
  await read(bench.store, (await build(bench.store, [2, 5])).id);
});

test('a pack that came second with all its chunks goes, and is not missed', async () => {
  await using bench = await openBench();
  const both = await Promise.all([build(bench.store, [1, 2]), build(bench.store, [1, 2])]);
  await bench.collect();
  expect(await packs(bench)).toHaveLength(1);
  for (const { id } of both) await read(bench.store, id);
});

test('a content whose pack is swept away while it is looked for is found all the same', async () => {
  await using bench = await openBench();
  const { id } = await build(bench.store, [1, 2]);
  await pool.query(`INSERT INTO waypost.packs (pack_id, bytes) VALUES ('01J00000000000000000000001', 1)`);
  await pool.query(`UPDATE waypost.table_contents SET packs = packs || '01J00000000000000000000001'::text`);
  const { catalog } = bench.store.parts;
  const findContent = catalog.findContent.bind(catalog);
  let lookups = 0;
  catalog.findContent = async (...wanted) => {
    const found = await findContent(...wanted);
    if ((lookups += 1) === 1) expect(await bench.collect()).toMatchObject({ packs: 1 });
    return found;
  };
  await read(bench.store, id);
  expect(lookups).toBe(2);
});

test('two who store the same at one time agree on one index', async () => {
  await using bench = await openBench();
  const both = await Promise.all([build(bench.store, [1, 2, 3, 4]), build(bench.store, [3, 4, 5]), build(bench.store, [1, 2, 3, 4])]);
  for (const { id } of both) await read(bench.store, id);
  const { rows } = await pool.query<{ chunks: number }>('SELECT count(*)::int AS chunks FROM waypost.chunks');
  expect(rows[0]?.chunks).toBe(5);
  expect(ChunkIndex.decode((await bench.store.find(both[0].id))!.index).length).toBe(4);
});
