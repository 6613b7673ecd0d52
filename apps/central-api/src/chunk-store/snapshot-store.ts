import type { BorderKeys, ChunkIndex, RowFormat } from '@waypost/contracts';
import type { DiskSpace, TtlCache } from '@waypost/runtime';

/** Names a table's content: equal rows have equal ids, for every device. */
export interface SnapshotId {
  sha256: string;
  format: RowFormat;
}

/** A table in chunks, and where they end. */
export interface ChunkedTable {
  index: ChunkIndex;
  borders: BorderKeys;
}

/** A stored table, some of whose chunks another one may take over. */
export interface StoredBase extends ChunkedTable {
  /** Those that hold its chunks. */
  packs: readonly string[];
  /** As of SnapshotStore. */
  readChunks(chunks: ChunkIndex): AsyncGenerator<Buffer>;
}

export interface RawChunk {
  digest: Buffer;
  /** Canonical rows; valid until `put` returns. */
  bytes: Buffer;
  rowCount: number;
}

/** A table that is being stored. It can be read after `commit`, and not before. */
export interface TableWriter {
  /**
   * Stores those chunks that are not stored yet; one call at a time.
   * @param onFrame called for each frame that had to be made, with the chunk's position; valid until it returns
   * @returns for each one the length of its frame
   */
  put(chunks: readonly RawChunk[], onFrame?: (at: number, frame: Buffer) => void): Promise<number[]>;
  /** Makes the table readable under its content's id, atomically and durably. @returns the index as it is stored */
  commit(table: ChunkedTable): Promise<ChunkIndex>;
  /** Gives the table up; may be called after anything, also after commit. Chunks that are stored already may serve others. */
  abort(): Promise<void>;
}

export interface StoredSnapshot {
  /** Header and index of the chunk stream. */
  index: Buffer;
  /** Length of all frames together. */
  frameBytes: number;
}

/** Of a stored table's chunk stream. */
export interface StreamSize {
  /** SHA-256 of header and index, which hold the digest and the frame length of each chunk: it stands for the whole stream. */
  indexSha256: Buffer;
  /** Of header and index. */
  indexBytes: number;
  /** Of all frames together. */
  frameBytes: number;
}

/** Where snapshots of tables live: immutable, content-addressed, shared by all devices; equal chunks are stored once. */
export interface SnapshotStore {
  /** @param base the table takes over chunks of it; what `findBase` gave to the same build */
  create(base?: StoredBase): TableWriter;
  /** A stored table with its borders; nothing if they are not known, or as of `find`. */
  findBase(id: SnapshotId): Promise<StoredBase | undefined>;
  /** The index of a stored table; nothing if it is missing or if not all of its packs are there in full. */
  find(id: SnapshotId): Promise<StoredSnapshot | undefined>;
  /**
   * The frames of what `find` found, each checked before it is given. What proves to be lost or damaged is forgotten, so
   * that the next request builds it again. @throws WaypostError SNAPSHOT_MISSING then
   */
  openFrames(id: SnapshotId, stored: StoredSnapshot): AsyncGenerator<Buffer>;
  /**
   * The frames of chunks that are stored, in the index's order, from a byte position on, as of `openFrames`.
   * @param id a table that needs them
   */
  openChunks(id: SnapshotId, chunks: ChunkIndex, start: number): AsyncGenerator<Buffer>;
  /**
   * The canonical bytes of chunks that are stored, in the index's order, each checked, in memory of its own: the caller may release it. What proves to be lost or damaged is forgotten.
   * @param id a table that needs them
   * @throws WaypostError SNAPSHOT_MISSING then
   */
  readChunks(id: SnapshotId, chunks: ChunkIndex): AsyncGenerator<Buffer>;
  /** Reads all chunks of a stored table, as `readChunks` does, and forgets those that are lost or damaged: they are stored again with the next read of the table. */
  forgetDamaged(id: SnapshotId): Promise<void>;
  /**
   * Of a table that is stored.
   * @param isWhole nothing is given if not all of its packs are there in full; without it that is seen when they are read
   */
  measureStream(id: SnapshotId, options: { isWhole: boolean }): Promise<StreamSize | undefined>;
  /**
   * The chunk stream from a byte position on, each frame checked before it is given. Reads no more than what is taken makes necessary, however large
   * the table is. What proves to be lost or damaged is forgotten.
   * @throws WaypostError SNAPSHOT_MISSING then, and where the table is removed meanwhile
   */
  openStream(id: SnapshotId, size: StreamSize, start: number): AsyncGenerator<Buffer>;
  /** Looks through the whole store: from time to time, not at a scrape. */
  measure(): Promise<void>;
  /** What is stored, as of the last `measure` plus what this process has added since; undefined before the first. */
  readonly bytes: number | undefined;
  /** Of the disk below it. */
  readonly space: TtlCache<DiskSpace>;
  /** @throws WaypostError STORAGE_FAILED when nothing can be written */
  check(): Promise<void>;
}

export const SNAPSHOT_STORE = Symbol('snapshot store');
