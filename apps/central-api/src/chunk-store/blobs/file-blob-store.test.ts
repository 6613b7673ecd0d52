import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SmallDisk } from '../../../../../test/support/small-disk.js';
import { type Backend, describeBlobStore } from '../../../testing/blob-store-conformance.js';
import { FileBlobStore } from './file-blob-store.js';

async function openFolder(): Promise<Backend & { folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'waypost-blobs-'));
  return {
    folder,
    store: new FileBlobStore(join(folder, 'store')),
    reopen: () => new FileBlobStore(join(folder, 'store')),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

describeBlobStore('file', openFolder);

test('a folder that nothing can be written to fails with its name', async () => {
  const failed = { code: 'STORAGE_FAILED', message: expect.stringContaining('/dev/null/x') };
  const impossible = new FileBlobStore('/dev/null/x');
  await expect(impossible.create('packs/a')).rejects.toMatchObject(failed);
  await expect(impossible.check()).rejects.toMatchObject(failed);
  await expect(impossible.head('packs/a')).rejects.toMatchObject(failed);
});

test('a folder in the place of a file is no blob', async () => {
  await using backend = await openFolder();
  await mkdir(join(backend.folder, 'store', 'packs', 'a'), { recursive: true });
  expect(await backend.store.head('packs/a')).toBeUndefined();
  expect(await backend.store.list()).toEqual([]);
});

test('a full disk fails the writer, which leaves nothing, and once there is space the next one succeeds', async () => {
  await using disk = await SmallDisk.mount(4);
  if (!disk) return;
  const store = new FileBlobStore(disk.path);
  const writer = await store.create('packs/a');
  const write = async (): Promise<void> => {
    for (let megabyte = 0; megabyte < 5; megabyte += 1) await writer.append([Buffer.alloc(1 << 20, 1)]);
    await writer.commit();
  };
  await expect(write()).rejects.toMatchObject({ code: 'STORAGE_FAILED', message: expect.stringMatching(/ENOSPC/) });
  await writer.abort();
  expect(await readdir(join(disk.path, 'incoming'))).toEqual([]);
  expect(await store.list()).toEqual([]);

  const next = await store.create('packs/a');
  await next.append([Buffer.alloc(1 << 20, 1)]);
  await next.commit();
  expect(await store.head('packs/a')).toBe(1 << 20);
});

test('files of others are listed too, wherever they lie', async () => {
  await using backend = await openFolder();
  await mkdir(join(backend.folder, 'store', 'aa'), { recursive: true });
  await writeFile(join(backend.folder, 'store', 'aa', 'notes'), 'x');
  expect(await backend.store.list()).toEqual([{ name: 'aa/notes', bytes: 1 }]);
});
