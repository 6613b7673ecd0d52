export interface MetricsOptions {
  /** Age of a device's verified state from which it counts as stale. */
  staleAfterMs: number;
  /** Time without a request from which a device counts as silent. */
  silentAfterMs: number;
}

/** Injection token of MetricsOptions. */
export const METRICS_OPTIONS = Symbol('metrics options');
