import { type BorderedIndex, sha256, WaypostError } from '@waypost/contracts';

/** Chunks that the device holds, by their places from `first` to before `end`, and what comes in their place. Either side may be empty. */
export interface ChunkChange {
  first: number;
  end: number;
  /** Length of the new chunks together. */
  rawBytes: number;
  /**
   * Restores the new chunks' canonical bytes.
   * @param old the old chunks' canonical bytes, one after another
   * @throws WaypostError CHUNK_CORRUPT
   */
  open: (old: Buffer) => Buffer;
}

/** Rows that differ, wherever they lie. */
export interface RowsChange {
  /** The keys of those that are there before, in the form of BorderKeys. */
  keys: readonly { key: Buffer }[];
  /** The first bytes of the SHA-256 of their canonical bytes, one after another. */
  oldCheck: Buffer;
  /**
   * Restores the canonical bytes of the rows that are there afterwards.
   * @param old those of the rows that are there before
   * @throws WaypostError CHUNK_CORRUPT
   */
  open: (old: Buffer) => Buffer;
}

/** What leads from the rows that a device holds to those of the manifest. */
export interface ChangeSource {
  /** The chunks that it starts from, where they are not those that the device has stored. */
  readonly from?: BorderedIndex | undefined;
  /** The hash of the table that it starts from. */
  readonly baseSha256: string;
  /** The hash of the table that it leads to, where each change brings one whole chunk or none: then that is proven before anything is written. */
  readonly leadsTo?: string | undefined;
  /** Those of chunks in key order. A change is valid until the next one is asked for. */
  changes(): AsyncIterable<ChunkChange | RowsChange>;
}

/** @throws WaypostError CHUNK_CORRUPT where the bytes have another SHA-256, as far as it is known */
export function checkDigest(bytes: Buffer, digest: Buffer): void {
  if (hasDigest(bytes, digest)) return;
  throw new WaypostError('CHUNK_CORRUPT', { detail: 'What a change leads to has another SHA-256 than its list says.' });
}

/** Whether the SHA-256 of the bytes is, or begins with, the digest. */
export function hasDigest(bytes: Buffer, digest: Buffer): boolean {
  return sha256(bytes).subarray(0, digest.length).equals(digest);
}
