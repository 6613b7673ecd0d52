import type { LoadStrategy } from '../load/load-options.js';

export interface MirrorOptions {
  deviceMac: string;
  /** Manifests of another one are refused. */
  schemaVersion: number;
  loadStrategy: LoadStrategy;
  /** A live stream without progress for this long is aborted: central may have to wait for its own database. */
  requestTimeoutMs: number;
  /** For all downloads of one cycle. */
  downloadDeadlineMs: number;
}

/** Injection token of MirrorOptions. */
export const MIRROR_OPTIONS = Symbol('mirror options');
