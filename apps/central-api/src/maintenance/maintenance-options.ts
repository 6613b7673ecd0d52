import type { TlsFiles } from '@waypost/runtime';

export interface MaintenanceOptions {
  /** How long tables that no live manifest names stay in the chunk store, and how many do at most; how long those do that devices hold. */
  snapshotRetention: { idleMs: number; idleCount: number; baseMs: number };
  /** How long the audit is kept; 0 for ever. */
  auditRetentionMs: number;
  /** From a request's start until its audit row is written. */
  maxRequestMs: number;
  /** Of a build, which sweeps wait for, and of a shadow read. */
  buildTimeoutMs: number;
  /** How long a shadow read waits for a table that is being altered. */
  lockTimeoutMs: number;
  /** One answer "unchanged" in this many is compared with the tables; 0 for none. */
  shadowReadEvery: number;
  /** 0 for never. */
  canaryIntervalMs: number;
  /** Of the certificate that central serves; undefined where it speaks HTTP. */
  tls: TlsFiles | undefined;
}

/** Injection token of MaintenanceOptions. */
export const MAINTENANCE_OPTIONS = Symbol('maintenance options');
