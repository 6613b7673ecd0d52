export interface IndexOptions {
  /** How long the making or removing of an index waits for other sessions. */
  lockTimeoutMs: number;
}

/** Injection token of IndexOptions. */
export const INDEX_OPTIONS = Symbol('index options');
