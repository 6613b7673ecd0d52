import type { FileHandle } from 'node:fs/promises';
import { WaypostError } from '@waypost/contracts';

/**
 * Fills `bytes` from this position of the file.
 * @throws WaypostError STORAGE_FAILED; CHUNK_CORRUPT when the file ends before that
 */
export async function readFully(file: FileHandle, path: string, bytes: Buffer, position: number): Promise<Buffer> {
  const { bytesRead } = await file.read(bytes, 0, bytes.length, position).catch((error: unknown) => {
    throw storageFailed(path, error);
  });
  if (bytesRead === bytes.length) return bytes;
  throw new WaypostError('CHUNK_CORRUPT', { detail: `${path} is shorter than what was written to it.` });
}

/**
 * @param position where to write; null: behind what was written before
 * @throws WaypostError STORAGE_FAILED
 */
export async function writeFully(file: FileHandle, path: string, bytes: Buffer, position: number | null): Promise<void> {
  const { bytesWritten } = await file.write(bytes, 0, bytes.length, position).catch((error: unknown) => {
    throw storageFailed(path, error);
  });
  if (bytesWritten === bytes.length) return;
  throw new WaypostError('STORAGE_FAILED', { detail: `${path} could not be written in full: is the disk full?` });
}

/** A WaypostError stays as it is. */
export function storageFailed(path: string, error: unknown): WaypostError {
  if (error instanceof WaypostError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new WaypostError('STORAGE_FAILED', { detail: `${path}: ${reason}`, cause: error });
}
