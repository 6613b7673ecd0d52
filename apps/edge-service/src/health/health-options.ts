export interface HealthOptions {
  /** 0: only on demand. */
  syncIntervalMs: number;
  /** With less free space for downloads the edge is unhealthy. */
  minFreeDiskBytes: number;
}

/** Injection token of HealthOptions. */
export const HEALTH_OPTIONS = Symbol('health options');
