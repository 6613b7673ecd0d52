export interface TrustOptions {
  /** MANIFEST_TTL. */
  manifestTtlMs: number;
}

/** Injection token of TrustOptions. */
export const TRUST_OPTIONS = Symbol('trust options');
