import type { DiskSpace } from '@waypost/runtime';

/** An immutable sequence of bytes under a name, such as `packs/01J….pack`. */
export interface Blob {
  name: string;
  bytes: number;
}

/** A blob being written. Nothing of it is visible before `commit`. */
export interface BlobWriter {
  append(pieces: readonly Buffer[]): Promise<void>;
  /** Makes the blob visible under its name, whole and durably, or not at all. */
  commit(): Promise<void>;
  /** Discards what is not committed; may be called at any time, more than once. */
  abort(): Promise<void>;
}

/** A blob being read. */
export interface BlobReader {
  /** These bytes, fewer where the blob ends before. Reads mostly go forward: a backend that is far away may read ahead. */
  read(start: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

/**
 * A backend for packs: a folder, or an object store with ranged reads. Names are never used twice. Every method may throw WaypostError
 * STORAGE_FAILED. testing/blob-store-conformance.ts says what each backend must do.
 */
export interface BlobStore {
  create(name: string): Promise<BlobWriter>;
  /** Undefined where there is no such blob. */
  open(name: string): Promise<BlobReader | undefined>;
  /** The blob's length; undefined where there is no such blob. */
  head(name: string): Promise<number | undefined>;
  /** All blobs, of all writers. */
  list(): Promise<Blob[]>;
  /** Succeeds where there is no such blob. */
  remove(name: string): Promise<void>;
  /** Ids of what is being written, or was by a process that is gone. */
  listUnfinished(): Promise<string[]>;
  removeUnfinished(id: string): Promise<void>;
  /** @throws WaypostError STORAGE_FAILED when nothing can be written */
  check(): Promise<void>;
  /** Of the disk below it. */
  space(): Promise<DiskSpace>;
}
