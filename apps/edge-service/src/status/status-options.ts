export interface StatusOptions {
  /** 0: only on demand. */
  syncIntervalMs: number;
}

/** Injection token of StatusOptions. */
export const STATUS_OPTIONS = Symbol('status options');
