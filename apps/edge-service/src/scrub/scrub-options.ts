export interface ScrubOptions {
  /** From the end of one scrub to the start of the next; 0: only on demand. */
  intervalMs: number;
}

/** Injection token of ScrubOptions. */
export const SCRUB_OPTIONS = Symbol('scrub options');
