import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { WaypostError } from '@waypost/contracts';
import { type DiskSpace, diskSpaceOf, faultPoint, writeProbe, newId } from '@waypost/runtime';
import type { Blob, BlobReader, BlobStore, BlobWriter } from './blob-store.js';

const INCOMING = 'incoming';

/** Blobs as files of a folder, by their names. They are written under `incoming/` and renamed. */
export class FileBlobStore implements BlobStore {
  constructor(private readonly folder: string) {}

  async create(name: string): Promise<BlobWriter> {
    const incoming = join(this.folder, INCOMING);
    const path = join(incoming, newId());
    return attempt(path, async () => {
      await mkdir(incoming, { recursive: true });
      return new FileBlobWriter(await open(path, 'wx'), path, join(this.folder, name));
    });
  }

  async open(name: string): Promise<BlobReader | undefined> {
    const path = join(this.folder, name);
    const handle = await attempt(path, () => open(path).catch(unlessMissing));
    return handle && new FileBlobReader(handle, path);
  }

  async head(name: string): Promise<number | undefined> {
    const path = join(this.folder, name);
    const found = await attempt(path, () => stat(path).catch(unlessMissing));
    return found?.isFile() ? found.size : undefined;
  }

  async list(): Promise<Blob[]> {
    return attempt(this.folder, async () => {
      const entries = (await readdir(this.folder, { recursive: true, withFileTypes: true }).catch(unlessMissing)) ?? [];
      const names = entries
        .filter((entry) => entry.isFile())
        .map((entry) => relative(this.folder, join(entry.parentPath, entry.name)))
        .filter((name) => !name.startsWith(INCOMING + sep));
      const sizes = await Promise.all(names.map((name) => this.head(name)));
      return names.flatMap((name, at) => (sizes[at] === undefined ? [] : [{ name, bytes: sizes[at] }]));
    });
  }

  async remove(name: string): Promise<void> {
    const path = join(this.folder, name);
    await attempt(path, () => rm(path, { force: true }));
  }

  async listUnfinished(): Promise<string[]> {
    const path = join(this.folder, INCOMING);
    return attempt(path, async () => (await readdir(path).catch(unlessMissing)) ?? []);
  }

  async removeUnfinished(id: string): Promise<void> {
    await this.remove(join(INCOMING, id));
  }

  async check(): Promise<void> {
    await attempt(this.folder, () => writeProbe(this.folder));
  }

  async space(): Promise<DiskSpace> {
    await mkdir(this.folder, { recursive: true });
    return diskSpaceOf(this.folder);
  }
}

class FileBlobReader implements BlobReader {
  constructor(
    private readonly handle: FileHandle,
    private readonly path: string,
  ) {}

  async read(start: number, length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafeSlow(length);
    return attempt(this.path, async () => {
      for (let at = 0; at < length;) {
        const { bytesRead } = await this.handle.read(bytes, at, length - at, start + at);
        if (bytesRead === 0) return bytes.subarray(0, at);
        at += bytesRead;
      }
      return bytes;
    });
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

class FileBlobWriter implements BlobWriter {
  private open = true;

  constructor(
    private readonly handle: FileHandle,
    /** Under `incoming/`. */
    private readonly path: string,
    private readonly target: string,
  ) {}

  async append(pieces: readonly Buffer[]): Promise<void> {
    if (pieces.length === 0) return;
    const total = pieces.reduce((sum, piece) => sum + piece.length, 0);
    await attempt(this.path, async () => {
      const { bytesWritten } = await this.handle.writev(pieces);
      // A short write happens only where space runs out: the next one says why.
      if (bytesWritten < total) await this.handle.writeFile(Buffer.concat(pieces).subarray(bytesWritten));
    });
  }

  async commit(): Promise<void> {
    await attempt(this.path, async () => {
      await this.handle.datasync();
      await faultPoint('central.pack-written');
      await makeFolder(dirname(this.target));
      await rename(this.path, this.target);
      await syncFolder(dirname(this.target));
    });
    await this.abort();
  }

  async abort(): Promise<void> {
    if (!this.open) return;
    this.open = false;
    await this.handle.close();
    await rm(this.path, { force: true });
  }
}

async function makeFolder(folder: string): Promise<void> {
  const made = await mkdir(folder, { recursive: true });
  if (made !== undefined) await syncFolder(dirname(made));
}

/** A rename is durable once its folder is. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  await handle.sync().finally(() => handle.close());
}

function unlessMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}

async function attempt<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof WaypostError) throw cause;
    throw new WaypostError('STORAGE_FAILED', { detail: `${path}: ${(cause as Error).message}`, cause });
  }
}
