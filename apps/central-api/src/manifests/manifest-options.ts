export interface ManifestOptions {
  /** How long a manifest can be downloaded. */
  ttlMs: number;
  /** Part of its rows that a table may lose in one step; Infinity for all. */
  maxShrink: number;
  /** A longer snapshot is cancelled. */
  buildTimeoutMs: number;
  /** How long a snapshot waits for a table that is being altered. */
  lockTimeoutMs: number;
  /** How long a request waits for another one of its device. */
  deviceLockTimeoutMs: number;
  /** How long sending the rows of one request may take. */
  payloadTimeoutMs: number;
}

/** Injection token of ManifestOptions. */
export const MANIFEST_OPTIONS = Symbol('manifest options');
