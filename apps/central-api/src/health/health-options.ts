export interface HealthOptions {
  /** With less free space for snapshots central is down; below ten times that it is degraded. */
  minFreeDiskBytes: number;
}

/** Injection token of HealthOptions. */
export const HEALTH_OPTIONS = Symbol('health options');
