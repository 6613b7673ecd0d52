import { mkdir, mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import type { ChunkIndex } from '@waypost/contracts';
import { ChunkIndexBuilder, sha256 } from '@waypost/contracts';
import { compress } from '@waypost/runtime';
import { FileSnapshotStore } from './file-snapshot-store.js';
import type { SnapshotId, SnapshotStore } from './snapshot-store.js';

let folder: string;
let store: SnapshotStore;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waypost-store-'));
  store = new FileSnapshotStore(join(folder, 'store'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

interface Content {
  index: ChunkIndex;
  frames: Buffer[];
}

/** Some chunks of rows; equal texts give equal content. */
function contentOf(...chunks: string[]): Content {
  const index = new ChunkIndexBuilder('binary');
  const frames = chunks.map((chunk) => {
    const bytes = Buffer.from(chunk);
    const frame = compress(bytes);
    index.add({ digest: sha256(bytes), rowCount: 1, rawBytes: bytes.length, frameBytes: frame.length });
    return frame;
  });
  return { index: index.build(), frames };
}

function idOf({ index }: Content): SnapshotId {
  return { sha256: index.totals().sha256, format: index.format };
}

async function put(content: Content): Promise<SnapshotId> {
  const writer = await store.create();
  for (const frame of content.frames) await writer.append([frame]);
  return writer.commit(content.index);
}

async function framesOf(id: SnapshotId, start = 0): Promise<Buffer> {
  return buffer(await store.openFrames(id, start));
}

/** Every file below the store, without its folder. */
async function files(): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name)
    .sort();
}

function pathOf({ sha256, format }: SnapshotId, part: string): string {
  return join(folder, 'store', sha256.slice(0, 2), `${sha256}.${format}.${part}`);
}

const CONTENT = contentOf('one', 'two '.repeat(1000), 'three');
const WHOLE = Buffer.concat(CONTENT.frames);

test('what was committed is found and read from any byte on', async () => {
  const id = await put(CONTENT);
  expect(id).toEqual(idOf(CONTENT));
  const found = await store.find(id);
  expect(found).toEqual({ index: CONTENT.index.encode(), frameBytes: WHOLE.length });
  for (const start of [0, 1, WHOLE.length - 1, WHOLE.length]) expect((await framesOf(id, start)).equals(WHOLE.subarray(start))).toBe(true);
});

test('nothing can be read before the commit', async () => {
  const writer = await store.create();
  await writer.append(CONTENT.frames);
  expect(await store.find(idOf(CONTENT))).toBeUndefined();
  await expect(store.openFrames(idOf(CONTENT), 0)).rejects.toMatchObject({ code: 'SNAPSHOT_MISSING' });
  await writer.abort();
});

test('what is given up leaves nothing, however often it is given up', async () => {
  const writer = await store.create();
  await writer.append(CONTENT.frames);
  await writer.abort();
  await writer.abort();
  expect(await files()).toEqual([]);
});

test('giving up after the commit takes nothing away', async () => {
  const writer = await store.create();
  await writer.append(CONTENT.frames);
  const id = await writer.commit(CONTENT.index);
  await writer.abort();
  expect((await framesOf(id)).equals(WHOLE)).toBe(true);
});

test('equal content is stored once, also when it is committed twice at one time', async () => {
  await Promise.all([put(CONTENT), put(CONTENT), put(CONTENT)]);
  await put(CONTENT);
  expect(await files()).toHaveLength(2);
  expect((await framesOf(idOf(CONTENT))).equals(WHOLE)).toBe(true);
});

test('a table without rows is a snapshot too', async () => {
  const id = await put(contentOf());
  expect(await store.find(id)).toMatchObject({ frameBytes: 0 });
  expect(await framesOf(id)).toHaveLength(0);
});

test('thousands of frames at once are written whole, in order', async () => {
  const many = contentOf(...Array.from({ length: 3_000 }, (_, at) => `row ${at}`));
  const writer = await store.create();
  await writer.append(many.frames);
  const id = await writer.commit(many.index);
  expect((await framesOf(id)).equals(Buffer.concat(many.frames))).toBe(true);
});

test.each<[string, string, (path: string) => Promise<void>]>([
  ['cut frames', 'frames', (path) => truncate(path, 10)],
  ['missing frames', 'frames', (path) => rm(path)],
  ['a cut index', 'index', (path) => truncate(path, 30)],
  ['an empty index', 'index', (path) => truncate(path, 0)],
  ['an index with a changed digest', 'index', (path) => flipBit(path, 20)],
])('a snapshot with %s is not found, and replaced by the next commit', async (_, part, damage) => {
  const id = await put(CONTENT);
  await damage(pathOf(id, part));
  expect(await store.find(id)).toBeUndefined();
  await put(CONTENT);
  expect(await store.find(id)).toBeDefined();
  expect((await framesOf(id)).equals(WHOLE)).toBe(true);
});

test('frames with a flipped bit are replaced by the next commit', async () => {
  const id = await put(CONTENT);
  await flipBit(pathOf(id, 'frames'), WHOLE.length - 5);
  await put(CONTENT);
  expect((await framesOf(id)).equals(WHOLE)).toBe(true);
});

test('a snapshot that is removed or replaced while it is read is read whole', async () => {
  const id = await put(CONTENT);
  const reader = await store.openFrames(id, 0);
  expect(await store.sweep(() => false)).toBe(1);
  expect((await buffer(reader)).equals(WHOLE)).toBe(true);
});

test('sweeping removes what is not needed, and only that', async () => {
  const other = contentOf('other');
  const [kept, removed] = [await put(CONTENT), await put(other)];
  expect(await store.sweep((id) => id.sha256 === kept.sha256 && id.format === kept.format)).toBe(1);
  expect(await store.find(kept)).toBeDefined();
  expect(await store.find(removed)).toBeUndefined();
  expect(await files()).toHaveLength(2);
});

test('sweeping removes frames that a killed process left without index, and old unfinished files, but none that is being written', async () => {
  const id = await put(CONTENT);
  await rm(pathOf(id, 'index'));
  const abandoned = join(folder, 'store', 'incoming', 'old.frames');
  await writeFile(abandoned, 'x');
  await utimes(abandoned, 0, 0);
  const writer = await store.create();
  await store.sweep(() => false);
  expect(await files()).toHaveLength(1);
  await writer.append(CONTENT.frames);
  await writer.commit(CONTENT.index);
  expect((await framesOf(id)).equals(WHOLE)).toBe(true);
});

test('sweeping leaves files alone that are not the store’s', async () => {
  await mkdir(join(folder, 'store', 'aa'), { recursive: true });
  await writeFile(join(folder, 'store', 'README'), '');
  await writeFile(join(folder, 'store', 'aa', 'notes.index'), '');
  expect(await store.sweep(() => false)).toBe(0);
  expect(await files()).toEqual(['README', 'notes.index']);
});

test('a store that does not exist yet has nothing to sweep, and is made by the check', async () => {
  expect(await store.sweep(() => false)).toBe(0);
  await store.check();
  expect(await files()).toEqual([]);
});

test('a store where no folder can be made fails with its name', async () => {
  const path = '/dev/null/x';
  const failed = { code: 'STORAGE_FAILED', message: expect.stringContaining(path) };
  const impossible = new FileSnapshotStore(path);
  await expect(impossible.create()).rejects.toMatchObject(failed);
  await expect(impossible.check()).rejects.toMatchObject(failed);
});

async function flipBit(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  await writeFile(path, bytes);
}
