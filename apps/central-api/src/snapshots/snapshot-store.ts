import type { Readable } from 'node:stream';
import type { ChunkIndex, RowFormat } from '@waypost/contracts';
import type { DiskSpace, Latest } from '@waypost/runtime';

/** Names a table snapshot by its content: equal rows have equal ids, whoever asks for them. */
export interface SnapshotId {
  sha256: string;
  format: RowFormat;
}

/** A snapshot being written. Nothing of it can be read before `commit`. */
export interface SnapshotWriter {
  /** Adds zstd frames, in key order. */
  append(frames: readonly Buffer[]): Promise<void>;
  /** Makes the snapshot readable under its content's id, atomically and durably; replaces a damaged one. */
  commit(index: ChunkIndex): Promise<SnapshotId>;
  /** Gives the snapshot up; may be called after anything, also after commit. */
  abort(): Promise<void>;
}

export interface StoredSnapshot {
  /** Header and index of the chunk stream. */
  index: Buffer;
  /** Length of all frames together. */
  frameBytes: number;
}

/** Where table snapshots live: immutable, content-addressed, shared by all devices. */
export interface SnapshotStore {
  create(): Promise<SnapshotWriter>;
  /** The index of a complete snapshot; nothing if it is missing or has not all its frames. */
  find(id: SnapshotId): Promise<StoredSnapshot | undefined>;
  /** Frames from a byte position on. The snapshot may be removed while it is read: the reader still gets all of it. */
  openFrames(id: SnapshotId, start: number): Promise<Readable>;
  /** Removes snapshots for which `isNeeded` says no, and what killed processes left behind. Returns how many were removed. */
  sweep(isNeeded: (id: SnapshotId) => boolean): Promise<number>;
  /** Looks through the whole store: from time to time, not at a scrape. */
  measure(): Promise<void>;
  /** What is stored, as of the last `measure` plus what this process has added since; undefined before the first. */
  readonly bytes: number | undefined;
  /** Of the disk below it. */
  readonly space: Latest<DiskSpace>;
  /** @throws WaypostError STORAGE_FAILED when nothing can be written */
  check(): Promise<void>;
}

export const SNAPSHOT_STORE = Symbol('snapshot store');
