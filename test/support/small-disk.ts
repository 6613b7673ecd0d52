import { execFile } from 'node:child_process';
import { statfs, writeFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { giveTo } from '../../scripts/postgres/home.js';
import { findDatabaseUser } from '../../scripts/postgres/run-as.js';
import { temporaryFolder, type TemporaryFolder } from './temporary-folder.js';

const run = promisify(execFile);

/** A file system of a few megabytes in memory, which really runs full. Disposing of it unmounts it. */
export class SmallDisk implements AsyncDisposable {
  private constructor(private readonly folder: TemporaryFolder) {}

  /** @returns undefined where this process may not mount: it takes root and CAP_SYS_ADMIN */
  static async mount(megabytes: number): Promise<SmallDisk | undefined> {
    const folder = await temporaryFolder();
    try {
      await run('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=755`, 'tmpfs', folder.path]);
    } catch {
      await folder[Symbol.asyncDispose]();
      return undefined;
    }
    await giveTo(await findDatabaseUser(), folder.path);
    return new SmallDisk(folder);
  }

  get path(): string {
    return this.folder.path;
  }

  /** Leaves no more than so much free. */
  async fill(leaveBytes = 0): Promise<void> {
    const { bavail, bsize } = await statfs(this.path);
    await writeFile(join(this.path, 'filler'), Buffer.alloc(Math.max(0, bavail * bsize - leaveBytes)));
  }

  /** Takes back what `fill` took. */
  async free(): Promise<void> {
    await rm(join(this.path, 'filler'), { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run('umount', ['-l', this.path]);
    await this.folder[Symbol.asyncDispose]();
  }
}
