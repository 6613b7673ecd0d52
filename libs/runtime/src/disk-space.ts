import { statfs } from 'node:fs/promises';

export interface DiskSpace {
  /** For processes that are not root. */
  freeBytes: number;
  sizeBytes: number;
}

/** Of the file system that holds `path`. @throws Error of node:fs */
export async function diskSpaceOf(path: string): Promise<DiskSpace> {
  const { bavail, blocks, bsize } = await statfs(path);
  return { freeBytes: bavail * bsize, sizeBytes: blocks * bsize };
}
