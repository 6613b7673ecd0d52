import { createHash, hash } from 'node:crypto';

/** SHA-256 as 32 bytes. */
export function sha256(bytes: Uint8Array): Buffer {
  return hash('sha256', bytes, 'buffer');
}

/** SHA-256 of a text's UTF-8 form, as 64 lower-case hex digits. */
export function sha256Hex(text: string): string {
  return hash('sha256', text, 'hex');
}

/** The SHA-256 of a table without rows: that of no bytes at all. */
export const EMPTY_TABLE_SHA256 = sha256Hex('');

/**
 * The hash that names a table: SHA-256 over the 32-byte digests of its chunks, in key order.
 * @param digests the digests one after another, 32 bytes each
 */
export function tableSha256(digests: Iterable<Uint8Array>): string {
  const hasher = createHash('sha256');
  for (const digest of digests) hasher.update(digest);
  return hasher.digest('hex');
}
