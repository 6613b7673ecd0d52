export interface MetricsOptions {
  /** Its file system is measured. */
  downloadFolder: string;
  /** 0: only on demand. */
  syncIntervalMs: number;
}

/** Injection token of MetricsOptions. */
export const METRICS_OPTIONS = Symbol('metrics options');
