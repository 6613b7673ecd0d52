import { mkdir, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface DiskSpace {
  /** Available to processes that are not root. */
  freeBytes: number;
  sizeBytes: number;
}

/** Free and total space of the file system that holds `path`. @throws Error of node:fs */
export async function diskSpaceOf(path: string): Promise<DiskSpace> {
  const { bavail, blocks, bsize } = await statfs(path);
  return { freeBytes: bavail * bsize, sizeBytes: blocks * bsize };
}

/** Writes a small file and removes it. @throws Error of node:fs */
export async function writeProbe(folder: string): Promise<void> {
  // One name per process: probes never leave more than one file behind.
  const probe = join(folder, `.probe-${process.pid}`);
  try {
    await mkdir(folder, { recursive: true });
    await writeFile(probe, 'waypost');
  } finally {
    await rm(probe, { force: true });
  }
}
