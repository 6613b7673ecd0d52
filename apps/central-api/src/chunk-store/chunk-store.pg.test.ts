import { mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest } from '@waypost/contracts';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { SmallDisk } from '../../../../test/support/small-disk.js';
import { installCapture } from '../../testing/capture.js';
import { type Central, startCentral } from '../../testing/central.js';
import { readTable } from '../../testing/chunk-streams.js';
import { runSql } from '../../testing/sql.js';
import { SnapshotSweeper } from '../maintenance/snapshot-sweeper.js';

const A = '02:00:00:00:00:0a';
const B = '02:00:00:00:00:0b';

/** Two scopes, of 10,000 rows each, that share nine tenths of them. */
const SCHEMA = `
  CREATE TABLE scopes (mac macaddr PRIMARY KEY, low int NOT NULL, count int NOT NULL DEFAULT 10000);
  INSERT INTO scopes VALUES ('${A}', 0), ('${B}', 1000);
  CREATE TABLE items (id int PRIMARY KEY, body text NOT NULL);
  INSERT INTO items SELECT g, md5(g::text) || md5('x' || g) FROM generate_series(0, 10999) AS g`;
const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT low, count FROM scopes WHERE mac = :mac
tables:
  - name: items
    where: id >= :low AND id < :low + :count
`;

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

async function start(env: Record<string, string> = {}): Promise<Central> {
  const { url } = await server.createDatabase('chunks');
  await runSql(url, SCHEMA);
  const central = await startCentral({ databaseUrl: url, plan: PLAN, env });
  await central.app.get(SnapshotSweeper).sweep(); // the one at the start may come as late as now
  return central;
}

async function packsOf({ store }: Central): Promise<string[]> {
  const names = await readdir(join(store, 'packs')).catch(() => []);
  return names.toSorted().map((name) => join(store, 'packs', name));
}

async function storedBytes(central: Central): Promise<number> {
  const sizes = await Promise.all((await packsOf(central)).map(async (path) => (await readFile(path)).length));
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function rowsOf(central: Central, manifest: Manifest): Promise<string> {
  const { status, body } = await central.download(manifest, 'items');
  if (status !== 200) throw new Error(body.toString());
  const { index } = readTable(body);
  expect(index.totals()).toMatchObject({ sha256: manifest.tables[0]?.sha256, rowCount: manifest.tables[0]?.rowCount });
  return index.totals().sha256;
}

test('a second scope that shares nine tenths of its rows adds no more than 15 % of a full copy', async () => {
  await using central = await start();
  // Large enough for the two chunks in which the shares begin and end, whole ones in the one, cut in the other, to count for little.
  await central.sql(`DELETE FROM items; INSERT INTO items SELECT g, md5(g::text) || md5('x' || g) FROM generate_series(0, 43999) AS g`);
  await central.sql(`UPDATE scopes SET low = 0, count = 40000 WHERE mac = '${A}'`);
  await central.sql(`UPDATE scopes SET low = 4000, count = 40000 WHERE mac = '${B}'`);
  const first = await central.manifestFor(A);
  const full = await storedBytes(central);
  expect(full).toBe(Number(first.tables[0]?.streamBytes) - 12 - 44 * readTable((await central.download(first, 'items')).body).index.length);
  const second = await central.manifestFor(B);
  const added = (await storedBytes(central)) - full;
  expect(added).toBeGreaterThan(0);
  expect(added / full).toBeLessThan(0.15);
  expect(await rowsOf(central, first)).not.toBe(await rowsOf(central, second));
});

test('what is known is never written again, in whatever scope, order or time it comes', async () => {
  await using central = await start();
  const manifest = await central.manifestFor(A);
  const bytes = await storedBytes(central);
  await central.sql(`DELETE FROM scopes; INSERT INTO scopes VALUES ('${B}', 0)`);
  expect((await central.manifestFor(B)).tables).toEqual(manifest.tables);
  await central.sql('CREATE TABLE kept AS SELECT * FROM items; DELETE FROM items');
  await central.manifestFor(B);
  await central.sql('INSERT INTO items SELECT * FROM kept');
  expect((await central.manifestFor(B)).tables).toEqual(manifest.tables);
  expect(await storedBytes(central)).toBe(bytes);
});

test('equal chunks of two tables are stored once', async () => {
  await using central = await start();
  const [table] = (await central.manifestFor(A)).tables;
  const bytes = await storedBytes(central);
  const { url } = await server.createDatabase('twice');
  await runSql(url, `${SCHEMA}; CREATE TABLE copy AS SELECT * FROM items; ALTER TABLE copy ADD PRIMARY KEY (id)`);
  await using twice = await startCentral({
    databaseUrl: url,
    plan: `${PLAN}  - name: copy\n    where: id >= :low AND id < :low + :count\n`,
  });
  const { tables } = await twice.manifestFor(A);
  expect(tables.map(({ sha256 }) => sha256)).toEqual([table?.sha256, table?.sha256]);
  expect(await storedBytes(twice)).toBe(bytes);
});

test.each<[string, (central: Central) => Promise<unknown>]>([
  ['is gone', async ({ store }) => rm(store, { recursive: true })],
  ['is emptied', async (central) => Promise.all((await packsOf(central)).map((path) => rm(path)))],
  ['has a cut pack', async (central) => truncate((await packsOf(central))[0] as string, 1000)],
  ['has an empty pack', async (central) => truncate((await packsOf(central))[0] as string, 0)],
  ['has a longer pack', async (central) => writeFile((await packsOf(central))[0] as string, 'x', { flag: 'a' })],
  ['is unknown to its database', async (central) => central.sql('TRUNCATE waypost.packs, waypost.chunks, waypost.table_contents')],
  ['has lost a pack’s row', async (central) => central.sql('DELETE FROM waypost.packs')],
  ['has lost chunks’ rows', async (central) => central.sql('DELETE FROM waypost.chunks WHERE get_byte(digest, 0) < 64')],
])('a store that %s refuses or breaks off, and the next request builds the same again', async (_, damage) => {
  await using central = await start();
  const manifest = await central.manifestFor(A);
  await damage(central);
  const broken = await central.download(manifest, 'items').catch(() => undefined);
  if (broken) expect(JSON.parse(broken.body.toString())).toMatchObject({ status: 410, code: 'SNAPSHOT_MISSING' });
  expect((await central.manifestFor(A)).manifestId).toBe(manifest.manifestId);
  expect(await rowsOf(central, manifest)).toBe(manifest.tables[0]?.sha256);
  await central.app.get(SnapshotSweeper).sweep();
  expect(await rowsOf(central, manifest)).toBe(manifest.tables[0]?.sha256);
});

test('a request alone notices that the store was emptied, without a download before it', async () => {
  await using central = await start();
  const manifest = await central.manifestFor(A);
  await rm(central.store, { recursive: true });
  expect((await central.manifestFor(A)).manifestId).toBe(manifest.manifestId);
  expect(await rowsOf(central, manifest)).toBe(manifest.tables[0]?.sha256);
});

test('a flipped bit anywhere is never sent: what was downloaded before it is right, and it heals', async () => {
  await using central = await start();
  const manifest = await central.manifestFor(A);
  const whole = (await central.download(manifest, 'items')).body;
  for (let round = 0; round < 8; round += 1) {
    const paths = await packsOf(central);
    const path = paths.at(-1) as string;
    const bytes = await readFile(path);
    const at = Math.floor((bytes.length * (round + 0.5)) / 8);
    bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << round), at);
    await writeFile(path, bytes);
    const broken = await central.download(manifest, 'items').catch(() => undefined);
    // Healed chunks may lie in a newer pack, so that the flipped one is not needed any more.
    if (broken) expect(broken.status === 410 || broken.body.equals(whole)).toBe(true);
    expect((await central.manifestFor(A)).manifestId).toBe(manifest.manifestId);
    expect((await central.download(manifest, 'items')).body.equals(whole)).toBe(true);
  }
});

test('a store that reaches its limit refuses what is too much, drops what is not needed, and goes on', async () => {
  await using central = await start({ SNAPSHOT_STORE_LIMIT: '512KiB', SNAPSHOT_RETENTION: '24h' });
  const first = await central.manifestFor(A);
  await central.sql(`UPDATE items SET body = md5('1' || id) || md5('2' || id)`);
  const refused = await central.post('/api/device-sync/request', { mac: A });
  expect(refused.body).toMatchObject({ code: 'STORAGE_FAILED', detail: expect.stringContaining('SNAPSHOT_STORE_LIMIT') });
  expect(await rowsOf(central, first)).toBe(first.tables[0]?.sha256);

  await central.sql(`UPDATE waypost.manifests SET expires_at = now() - interval '1 s'`);
  await central.app.get(SnapshotSweeper).sweep();
  const second = await central.manifestFor(A);
  expect(await rowsOf(central, second)).toBe(second.tables[0]?.sha256);
});

/** For each table, how its rows were committed. */
const NOTE_COMMITS = `
  CREATE TABLE commits (name text, waits text);
  CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO public.commits VALUES (TG_TABLE_NAME, current_setting('synchronous_commit')); RETURN NULL; END $$;
  DO $$ DECLARE name text; BEGIN
    FOREACH name IN ARRAY '{packs,chunks,table_contents,table_reads,manifests,sync_manifests,sync_requests}'::text[] LOOP
      EXECUTE format('CREATE CONSTRAINT TRIGGER note AFTER INSERT ON waypost.%I DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_commit()', name);
    END LOOP;
  END $$`;

test('what the store notes is committed without waiting for the disk; manifests and the audit are not', async () => {
  const { url } = await server.createDatabase('chunks');
  const plan = PLAN.replace('scope:', 'changes: triggers\nscope:');
  await runSql(url, SCHEMA);
  await runSql(url, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = on', current_database()); END $$");
  await using central = await startCentral({ databaseUrl: url, plan });
  await installCapture(url, plan);
  await central.sql(NOTE_COMMITS);
  await central.manifestFor(A);
  expect(await central.sql('SELECT DISTINCT name, waits FROM commits ORDER BY name')).toEqual([
    { name: 'chunks', waits: 'off' },
    { name: 'manifests', waits: 'on' },
    { name: 'packs', waits: 'off' },
    { name: 'sync_manifests', waits: 'on' },
    { name: 'sync_requests', waits: 'on' },
    { name: 'table_contents', waits: 'off' },
    { name: 'table_reads', waits: 'off' },
  ]);
});

test('files of the former layout and of killed processes are removed, those of others are not', async () => {
  await using central = await start();
  const manifest = await central.manifestFor(A);
  const former = `${'ab'.repeat(32)}.binary`;
  await mkdir(join(central.store, 'ab'), { recursive: true });
  for (const name of [`ab/${former}.frames`, `ab/${former}.index`, 'packs/01J00000000000000000000000.pack', 'incoming/01J', 'README'])
    await writeFile(join(central.store, name), 'x');
  expect(await central.app.get(SnapshotSweeper).sweep()).toMatchObject({ files: 3 });
  const left = (await readdir(central.store, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  expect(left.map(({ name }) => name).toSorted()).toEqual([expect.stringMatching(/\.pack$/), 'README']);
  expect(await rowsOf(central, manifest)).toBe(manifest.tables[0]?.sha256);
});

test('a disk that runs full while a snapshot is stored: a clear error, nothing left behind, and once there is space the same rows', async () => {
  await using disk = await SmallDisk.mount(4);
  if (!disk) return;
  const folder = join(disk.path, 'store');
  await using central = await start({ SNAPSHOT_STORE: `file:${folder}` });
  const first = await central.manifestFor(A);
  await central.sql(`UPDATE items SET body = md5('1' || id) || md5('2' || id)`);
  await disk.fill(100_000);
  const refused = await central.post('/api/device-sync/request', { mac: A });
  expect(refused).toMatchObject({ status: 500, body: { code: 'STORAGE_FAILED', detail: expect.stringMatching(/ENOSPC/) } });
  expect(await rowsOf(central, first)).toBe(first.tables[0]?.sha256);
  expect(await readdir(join(folder, 'incoming'))).toEqual([]);
  await disk.free();
  const second = await central.manifestFor(A);
  expect(second.tables).not.toEqual(first.tables);
  expect(await rowsOf(central, second)).toBe(second.tables[0]?.sha256);
});
