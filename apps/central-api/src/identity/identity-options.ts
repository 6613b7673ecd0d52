export interface IdentityOptions {
  /** `device`: devices show an access token. `mac`: one that has never enrolled may name its MAC instead. */
  mode: 'device' | 'mac';
  tokenTtlMs: number;
}

/** Injection token of IdentityOptions. */
export const IDENTITY_OPTIONS = Symbol('identity options');
