import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { ChunkIndex, type RowFormat, WaypostError } from '@waypost/contracts';
import { type DiskSpace, diskSpaceOf, faultPoint, Latest, writeProbe } from '@waypost/runtime';
import { ulid } from 'ulid';
import type { SnapshotId, SnapshotStore, SnapshotWriter, StoredSnapshot } from './snapshot-store.js';

/** What a receiver that takes nothing holds in memory, twice. */
const READ_BYTES = 64 << 10;
/** A file that is written for longer belongs to a process that is gone. */
const ABANDONED_AFTER_MS = 24 * 3_600_000;
/** A disk that hangs, such as a dead network mount, must not hold up a scrape. */
const SPACE = { ttlMs: 5000, timeoutMs: 1000 };
const SNAPSHOT_FILE = /^([0-9a-f]{64})\.(binary|text)\.(index|frames)$/;

/**
 * Snapshots in a folder: `<2 hex>/<sha256>.<format>.frames` and `.index`, written under `incoming/` and renamed. A snapshot
 * exists once its index does; the frames are renamed first and the index is removed first.
 */
export class FileSnapshotStore implements SnapshotStore {
  readonly space: Latest<DiskSpace>;
  private measuredBytes: number | undefined;
  private addedBytes = 0;

  constructor(private readonly folder: string) {
    this.space = new Latest(async () => {
      await mkdir(folder, { recursive: true });
      return diskSpaceOf(folder);
    }, SPACE);
  }

  get bytes(): number | undefined {
    return this.measuredBytes === undefined ? undefined : this.measuredBytes + this.addedBytes;
  }

  async create(): Promise<SnapshotWriter> {
    const incoming = join(this.folder, 'incoming');
    const path = join(incoming, `${ulid()}.frames`);
    try {
      await mkdir(incoming, { recursive: true });
      return new FileSnapshotWriter(this, path, await open(path, 'wx'));
    } catch (cause) {
      throw storageFailed(path, cause);
    }
  }

  async find(id: SnapshotId): Promise<StoredSnapshot | undefined> {
    try {
      const index = await readFile(this.pathOf(id, 'index'));
      const { frameBytes, sha256 } = ChunkIndex.decode(index).totals();
      const { size } = await stat(this.pathOf(id, 'frames'));
      return size === frameBytes && sha256 === id.sha256 ? { index, frameBytes } : undefined;
    } catch (error) {
      if (isMissing(error) || (error instanceof WaypostError && error.code === 'CHUNK_CORRUPT')) return undefined;
      throw storageFailed(this.pathOf(id, 'index'), error);
    }
  }

  async openFrames(id: SnapshotId, start: number): Promise<Readable> {
    const path = this.pathOf(id, 'frames');
    const handle = await open(path).catch((cause: unknown) => {
      if (isMissing(cause)) throw new WaypostError('SNAPSHOT_MISSING', { cause });
      throw storageFailed(path, cause);
    });
    return createReadStream('', { fd: handle, start, highWaterMark: READ_BYTES });
  }

  async sweep(isNeeded: (id: SnapshotId) => boolean): Promise<number> {
    const removed = new Set<string>();
    for (const folder of await listNames(this.folder)) {
      for (const file of await listNames(join(this.folder, folder))) {
        const path = join(this.folder, folder, file);
        const [, sha256, format, part] = SNAPSHOT_FILE.exec(file) ?? [];
        if (folder === 'incoming') {
          const age = Date.now() - ((await stat(path).catch(() => undefined))?.mtimeMs ?? Date.now());
          if (age > ABANDONED_AFTER_MS) await rm(path, { force: true });
        } else if (sha256 && !isNeeded({ sha256, format: format as RowFormat })) {
          // Also frames whose index was never written. The index goes first, so that nobody finds half a snapshot.
          const stem = path.slice(0, -String(part).length);
          await rm(`${stem}index`, { force: true });
          await rm(`${stem}frames`, { force: true });
          removed.add(`${sha256}.${format}`);
        }
      }
    }
    return removed.size;
  }

  async measure(): Promise<void> {
    // What is stored while this looks may count twice until the next time, and is never left out.
    const counted = this.addedBytes;
    let bytes = 0;
    for (const folder of await listNames(this.folder)) {
      for (const file of await listNames(join(this.folder, folder))) {
        bytes += (await stat(join(this.folder, folder, file)).catch(() => undefined))?.size ?? 0;
      }
    }
    this.measuredBytes = bytes;
    this.addedBytes -= counted;
  }

  /** @internal for FileSnapshotWriter */
  added(bytes: number): void {
    this.addedBytes += bytes;
  }

  async check(): Promise<void> {
    await writeProbe(this.folder).catch((cause: unknown) => {
      throw storageFailed(this.folder, cause);
    });
  }

  /** @internal for FileSnapshotWriter */
  pathOf({ sha256, format }: SnapshotId, part: 'index' | 'frames'): string {
    return join(this.folder, sha256.slice(0, 2), `${sha256}.${format}.${part}`);
  }
}

class FileSnapshotWriter implements SnapshotWriter {
  private readonly hash: Hash = createHash('sha256');
  private open = true;

  constructor(
    private readonly store: FileSnapshotStore,
    private readonly path: string,
    private readonly handle: FileHandle,
  ) {}

  async append(frames: readonly Buffer[]): Promise<void> {
    if (frames.length === 0) return;
    for (const frame of frames) this.hash.update(frame);
    const total = frames.reduce((sum, frame) => sum + frame.length, 0);
    try {
      const { bytesWritten } = await this.handle.writev(frames);
      // A short write happens only where space runs out: the next one says why.
      if (bytesWritten < total) await this.handle.write(Buffer.concat(frames).subarray(bytesWritten));
    } catch (cause) {
      throw storageFailed(this.path, cause);
    }
  }

  async commit(index: ChunkIndex): Promise<SnapshotId> {
    const id: SnapshotId = { sha256: index.totals().sha256, format: index.format };
    try {
      if (await this.isStored(id, index)) return id;
      await this.handle.datasync();
      await faultPoint('central.frames-written');
      const frames = this.store.pathOf(id, 'frames');
      const encoded = index.encode();
      await mkdir(dirname(frames), { recursive: true });
      await rename(this.path, frames);
      await faultPoint('central.frames-stored');
      await writeDurably(`${this.path}.index`, encoded);
      await rename(`${this.path}.index`, this.store.pathOf(id, 'index'));
      await syncFolder(dirname(frames));
      this.store.added(index.totals().frameBytes + encoded.length);
      await faultPoint('central.snapshot-stored');
      return id;
    } catch (cause) {
      throw storageFailed(this.path, cause);
    } finally {
      await this.abort();
    }
  }

  async abort(): Promise<void> {
    if (!this.open) return;
    this.open = false;
    await this.handle.close();
    await rm(this.path, { force: true });
    await rm(`${this.path}.index`, { force: true });
  }

  /** Whether the very same bytes are stored: one that was damaged on disk is replaced instead of trusted. */
  private async isStored(id: SnapshotId, index: ChunkIndex): Promise<boolean> {
    const stored = await this.store.find(id);
    if (!stored?.index.equals(index.encode())) return false;
    const hash = createHash('sha256');
    for await (const piece of await this.store.openFrames(id, 0)) hash.update(piece as Buffer);
    return hash.digest('hex') === this.hash.digest('hex');
  }
}

async function writeDurably(path: string, bytes: Buffer): Promise<void> {
  await writeFile(path, bytes, { flush: true });
}

/** A rename is durable once its folder is. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  await handle.sync().finally(() => handle.close());
}

async function listNames(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: unknown) => {
    if (isMissing(error) || (error as NodeJS.ErrnoException).code === 'ENOTDIR') return [];
    throw storageFailed(folder, error);
  });
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

function storageFailed(path: string, cause: unknown): WaypostError {
  if (cause instanceof WaypostError) return cause;
  return new WaypostError('STORAGE_FAILED', { detail: `${path}: ${(cause as Error).message}`, cause });
}
