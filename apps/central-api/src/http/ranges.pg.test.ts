import { readdir, readFile, readlink, rm, truncate, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { ChunkIndex, ChunkIndexBuilder, type ManifestTable, sha256 } from '@waypost/contracts';
import { createPool } from '@waypost/runtime';
import fc from 'fast-check';
import type pg from 'pg';
import { pino } from 'pino';
import type { DataSource } from 'typeorm';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { temporaryFolder } from '../../../../test/support/temporary-folder.js';
import { until } from '../../../../test/support/until.js';
import { startCentral } from '../../testing/central.js';
import { storeContent } from '../../testing/contents.js';
import { SHOP_PLAN, SHOP_SCHEMA } from '../../testing/shop.js';
import { runSql } from '../../testing/sql.js';
import type { BlobReader } from '../chunk-store/blobs/blob-store.js';
import { ChunkCatalog } from '../chunk-store/chunk-catalog.js';
import { LOCATE, LOCATE_PART } from '../chunk-store/chunk-catalog.sql.js';
import { FileBlobStore } from '../chunk-store/blobs/file-blob-store.js';
import { PackStore } from '../chunk-store/pack-store.js';
import type { RawChunk, SnapshotId } from '../chunk-store/snapshot-store.js';
import { ChunkStreamService } from '../manifests/chunk-stream-service.js';

/** What a range of a download costs, and that it is the same part of the same stream whatever has happened. */

let server: TestServer;
let pool: pg.Pool;
const sockets: Socket[] = [];

beforeAll(async () => {
  server = await startTestServer();
  const { url } = await server.createDatabase('ranges');
  await runSql(url, SHOP_SCHEMA);
  // For its migrations.
  await (await startCentral({ databaseUrl: url, plan: SHOP_PLAN }))[Symbol.asyncDispose]();
  pool = createPool({ url, applicationName: 'test', maxConnections: 4, onIdleError: () => undefined });
  pool.on('connect', (client) => void sockets.push((client as unknown as { connection: { stream: Socket } }).connection.stream));
});
afterAll(async () => {
  await pool?.end();
  await server?.[Symbol.asyncDispose]();
});
beforeEach(() => pool.query('TRUNCATE waypost.packs, waypost.chunks, waypost.table_contents CASCADE'));

/** What came from the catalog and from the packs. */
interface Cost {
  catalogBytes: number;
  /** Of the blob store. */
  calls: number;
  packBytes: number;
}

class CountedBlobs extends FileBlobStore {
  calls = 0;
  packBytes = 0;

  override async head(name: string): Promise<number | undefined> {
    this.calls += 1;
    return super.head(name);
  }

  override async open(name: string): Promise<BlobReader | undefined> {
    this.calls += 1;
    const reader = await super.open(name);
    return (
      reader && {
        read: async (start, length) => {
          this.calls += 1;
          this.packBytes += length;
          return reader.read(start, length);
        },
        close: () => reader.close(),
      }
    );
  }
}

interface Bench extends AsyncDisposable {
  store: PackStore;
  packs: string;
  download: (id: SnapshotId, range?: string, ifRange?: string, streamBytes?: number) => Promise<Download>;
  costOf: (work: () => Promise<unknown>) => Promise<Cost>;
}

type Download = Extract<Awaited<ReturnType<ChunkStreamService['open']>>, { body: object }>;

async function openBench(): Promise<Bench> {
  const folder = await temporaryFolder();
  const blobs = new CountedBlobs(folder.path);
  const store = new PackStore({ blobs, catalog: new ChunkCatalog(pool), logger: pino({ level: 'silent' }), limitBytes: Infinity });
  const streams = new ChunkStreamService({} as DataSource, store);
  const now = (): Cost => ({
    catalogBytes: sockets.reduce((sum, { bytesRead }) => sum + bytesRead, 0),
    calls: blobs.calls,
    packBytes: blobs.packBytes,
  });
  return {
    store,
    packs: join(folder.path, 'packs'),
    download: async (id, range, ifRange, streamBytes = 0) => {
      const stream = await streams.open({ name: 't', ...id, streamBytes } as ManifestTable, { range, ifRange });
      if ('unsatisfiable' in stream) throw stream.unsatisfiable;
      return stream as Download;
    },
    costOf: async (work) => {
      const before = now();
      await work();
      const after = now();
      return {
        catalogBytes: after.catalogBytes - before.catalogBytes,
        calls: after.calls - before.calls,
        packBytes: after.packBytes - before.packBytes,
      };
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

/** Small chunks that hardly compress, so that there are many of them for their bytes. */
function chunk(part: number): RawChunk {
  const bytes = Buffer.concat(Array.from({ length: 4 + (part % 9) }, (_, at) => sha256(Buffer.from(`${part}/${at}`))));
  return { digest: sha256(bytes), bytes, rowCount: 1 };
}

const tableOf = (store: PackStore, chunks: number, from = 0): Promise<SnapshotId> =>
  storeContent(
    store,
    Array.from({ length: chunks }, (_, at) => chunk(from + at)),
  );

/** As if it were a long stream. */
const openLong = (bench: Bench, id: SnapshotId): Promise<Download> => bench.download(id, undefined, undefined, 1 << 30);

async function wholeOf(bench: Bench, id: SnapshotId): Promise<Buffer> {
  return buffer((await bench.download(id)).body);
}

async function firstByteOf(bench: Bench, id: SnapshotId, start: number): Promise<void> {
  return begin(await bench.download(id, `bytes=${start}-`));
}

async function begin({ body }: Download): Promise<void> {
  for await (const piece of body) {
    expect((piece as Buffer).length).toBeGreaterThan(0);
    break;
  }
  // What is read ahead belongs to it.
  if (!body.closed) await new Promise((resolve) => body.once('close', resolve));
}

test('a range costs what is taken of it, however many chunks the table has', async () => {
  await using bench = await openBench();
  const [few, many] = [await tableOf(bench.store, 500), await tableOf(bench.store, 8000)];
  const sizes = { few: await wholeOf(bench, few), many: await wholeOf(bench, many) };
  const indexBytes = (stream: Buffer): number => ChunkIndex.encodedBytes(stream);
  expect(indexBytes(sizes.many)).toBeGreaterThan(350_000);
  const places: [string, (stream: Buffer) => number][] = [
    ['the last byte', (stream) => stream.length - 1],
    ['the first byte in the middle', (stream) => (indexBytes(stream) + stream.length) >> 1],
    ['the first byte of the frames', indexBytes],
    ['the last byte of the index', (stream) => indexBytes(stream) - 1],
  ];
  // Each connection describes its statements' columns once.
  for (const [, place] of places) for (let round = 0; round < 4; round += 1) await firstByteOf(bench, few, place(sizes.few));
  for (const [what, place] of places) {
    const ofFew = await bench.costOf(() => firstByteOf(bench, few, place(sizes.few)));
    const ofMany = await bench.costOf(() => firstByteOf(bench, many, place(sizes.many)));
    // Some places, and at most the next ones: what is taken is read ahead of.
    expect({ what, fits: ofMany.catalogBytes < 32_000, ...ofMany }).toMatchObject({ what, fits: true });
    expect(ofMany.calls).toBeLessThanOrEqual(ofFew.calls + 2);
    expect(ofMany.packBytes).toBeLessThanOrEqual(64 << 10);
  }
});

test.each([
  ['by digest', LOCATE, `'', 512`],
  ['of a content', LOCATE_PART, `'a', 'binary', '', 0, 512`],
])('places %s are looked up one by one, whatever PostgreSQL expects of their number', async (_, statement, values) => {
  await using bench = await openBench();
  await tableOf(bench.store, 8000);
  await pool.query('ANALYZE waypost.chunks');
  const client = await pool.connect();
  try {
    await client.query(`SET plan_cache_mode = force_generic_plan; PREPARE located AS ${statement}`);
    const { rows } = await client.query<Record<string, string>>(`EXPLAIN EXECUTE located(${values})`);
    const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
    expect(plan).toContain('chunks_pkey');
    expect(plan).not.toContain('Seq Scan on chunks');
  } finally {
    client.release(true);
  }
});

test('a whole download reads its index once, and the rest of it by range in proportion', async () => {
  await using bench = await openBench();
  const id = await tableOf(bench.store, 8000);
  const stream = await wholeOf(bench, id);
  const half = (ChunkIndex.encodedBytes(stream) + stream.length) >> 1;
  const whole = await bench.costOf(() => wholeOf(bench, id));
  const rest = await bench.costOf(async () => buffer((await bench.download(id, `bytes=${half}-`)).body));
  expect(rest.packBytes / whole.packBytes).toBeCloseTo(0.5, 1);
  expect(rest.catalogBytes).toBeLessThan(whole.catalogBytes);
});

test('a long download that is aborted at once has read little of its index', async () => {
  await using bench = await openBench();
  const id = await tableOf(bench.store, 8000);
  const short = await bench.costOf(async () => begin(await bench.download(id)));
  const long = await bench.costOf(async () => begin(await openLong(bench, id)));
  // PostgreSQL sends two digits for each byte.
  expect(short.catalogBytes).toBeGreaterThan(2 * 350_000);
  expect(long.catalogBytes).toBeLessThan(200_000);
  expect(long.packBytes).toBe(0);
});

test('wherever a range begins, in a table of however many chunks, it is that part of the whole', async () => {
  await using bench = await openBench();
  const counts = fc.oneof(fc.constantFrom(0, 1, 15, 16, 17, 31, 32, 33, 48, 49, 511, 513), fc.nat(120));
  await fc.assert(
    fc.asyncProperty(counts, fc.nat(1000), fc.array(fc.nat(), { minLength: 1, maxLength: 6 }), async (chunks, from, at) => {
      const id = await tableOf(bench.store, chunks, from);
      const whole = await bench.download(id);
      const bytes = await buffer(whole.body);
      const long = await openLong(bench, id);
      expect(long).toMatchObject({ etag: whole.etag, length: whole.length });
      expect((await buffer(long.body)).equals(bytes)).toBe(true);
      expect(whole.etag).toBe(`"${sha256(bytes.subarray(0, ChunkIndex.encodedBytes(bytes))).toString('hex')}"`);
      const borders = [1, 11, 12, 13, ChunkIndex.encodedBytes(bytes) - 1, ChunkIndex.encodedBytes(bytes), bytes.length - 1];
      for (const start of [...at.map((place) => place % bytes.length), ...borders].filter((place) => place > 0 && place < bytes.length)) {
        const part = await bench.download(id, `bytes=${start}-`, whole.etag);
        expect(part).toMatchObject({
          etag: whole.etag,
          length: bytes.length - start,
          contentRange: `bytes ${start}-${bytes.length - 1}/${bytes.length}`,
        });
        expect((await buffer(part.body)).equals(bytes.subarray(start))).toBe(true);
      }
      for (const start of [bytes.length, bytes.length + 1]) {
        await expect(bench.download(id, `bytes=${start}-`)).rejects.toMatchObject({ code: 'RANGE_INVALID' });
      }
      expect(await bench.download(id, 'bytes=5-', '"another"')).toMatchObject({ etag: whole.etag, length: bytes.length });
    }),
    { numRuns: 30 },
  );
});

test('what an earlier release stored is marked at its first range, and is the same stream', async () => {
  await using bench = await openBench();
  const id = await tableOf(bench.store, 3000);
  const { etag, body } = await bench.download(id);
  const bytes = await buffer(body);
  const marks = 'SELECT index_sha256, frame_marks FROM waypost.table_contents';
  const before = (await pool.query(marks)).rows;
  await pool.query('UPDATE waypost.table_contents SET index_sha256 = NULL, frame_marks = NULL');
  const start = bytes.length - 100;
  for (let round = 0; round < 2; round += 1) {
    const part = await bench.download(id, `bytes=${start}-`, etag);
    expect(part.length).toBe(100);
    expect((await buffer(part.body)).equals(bytes.subarray(start))).toBe(true);
    expect((await pool.query(marks)).rows).toEqual(before);
  }
});

/** As a release that knows no marks writes it: the same rows, their frames with other lengths. */
async function storeOtherIndex(id: SnapshotId): Promise<ChunkIndex> {
  const { rows } = await pool.query<{ index: Buffer }>('SELECT chunk_index AS index FROM waypost.table_contents WHERE sha256 = $1', [
    id.sha256,
  ]);
  const other = new ChunkIndexBuilder('binary');
  for (const entry of ChunkIndex.decode(rows[0]!.index)) other.add({ ...entry, frameBytes: entry.frameBytes + 1 });
  const index = other.build();
  await pool.query(
    `INSERT INTO waypost.table_contents AS content (sha256, format, chunk_index, row_count, frame_bytes, packs) VALUES ($1, 'binary', $2, 1, $3, '{}')
     ON CONFLICT (sha256, format) DO UPDATE SET chunk_index = excluded.chunk_index, frame_bytes = excluded.frame_bytes`,
    [id.sha256, index.encode(), index.totals().frameBytes],
  );
  return index;
}

test('an index that an earlier release puts in place of another is another stream', async () => {
  await using bench = await openBench();
  const id = await tableOf(bench.store, 300);
  const { etag } = await bench.download(id);
  const before = await bench.store.measureStream(id, { isWhole: false });
  const index = await storeOtherIndex(id);
  expect(await bench.store.measureStream(id, { isWhole: false })).toEqual({
    ...before,
    indexSha256: sha256(index.encode()),
    frameBytes: before!.frameBytes + 300,
  });
  expect(await bench.download(id, 'bytes=20-', etag)).not.toHaveProperty('contentRange');
});

test.each<[string, (id: SnapshotId) => Promise<unknown>]>([
  ['removed', () => pool.query('DELETE FROM waypost.table_contents')],
  ['replaced', storeOtherIndex],
])('a range in progress whose content is %s ends with an error, and what was sent before is right', async (_, change) => {
  await using bench = await openBench();
  const id = await tableOf(bench.store, 2000);
  const bytes = await wholeOf(bench, id);
  const start = 13;
  const { body } = await bench.download(id, `bytes=${start}-`);
  const pieces: Buffer[] = [];
  const reading = (async () => {
    for await (const piece of body) {
      if (pieces.length === 0) await change(id);
      pieces.push(piece as Buffer);
    }
  })();
  await expect(reading).rejects.toMatchObject({ code: 'SNAPSHOT_MISSING' });
  const sent = Buffer.concat(pieces);
  expect(sent.equals(bytes.subarray(start, start + sent.length))).toBe(true);
});

test('a long download of which a pack is lost is refused before anything is sent', async () => {
  await using bench = await openBench();
  const id = await tableOf(bench.store, 100);
  const [pack] = await readdir(bench.packs);
  await rm(join(bench.packs, pack as string));
  await expect(openLong(bench, id)).rejects.toMatchObject({ code: 'SNAPSHOT_MISSING' });
  expect((await pool.query('SELECT FROM waypost.table_contents')).rowCount).toBe(0);
});

test.each<[string, (pack: string) => Promise<unknown>]>([
  ['is gone', rm],
  ['is cut', (pack) => truncate(pack, 100)],
  ['is longer', (pack) => writeFile(pack, 'x', { flag: 'a' })],
  ['is damaged', async (pack) => writeFile(pack, (await readFile(pack)).fill(0))],
  ['is not known', () => pool.query('DELETE FROM waypost.packs')],
])('a range whose pack %s is refused before anything is sent, and its content forgotten', async (_, damage) => {
  await using bench = await openBench();
  const id = await tableOf(bench.store, 100);
  const { length } = await wholeOf(bench, id);
  const [pack] = await readdir(bench.packs);
  await damage(join(bench.packs, pack as string));
  await expect(bench.download(id, `bytes=${length - 20}-`)).rejects.toMatchObject({ code: 'SNAPSHOT_MISSING' });
  expect((await pool.query('SELECT FROM waypost.table_contents')).rowCount).toBe(0);
});

test('a range that is not read keeps no pack open', async () => {
  await using bench = await openBench();
  const id = await tableOf(bench.store, 100);
  const { length } = await wholeOf(bench, id);
  const open = async (): Promise<number> => {
    const links = await readdir('/proc/self/fd', { withFileTypes: true });
    const paths = await Promise.all(links.map(({ name }) => readlink(`/proc/self/fd/${name}`).catch(() => '')));
    return paths.filter((path) => path.startsWith(bench.packs)).length;
  };
  const { body } = await bench.download(id, `bytes=${length >> 1}-`);
  expect(await open()).toBe(1);
  body.destroy();
  await until(async () => (await open()) === 0);
});
