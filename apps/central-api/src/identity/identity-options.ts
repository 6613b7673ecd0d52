export interface IdentityOptions {
  /** `device`: devices show an access token. `mac`: one that has never enrolled may name its MAC instead. */
  mode: 'device' | 'mac';
  tokenTtlMs: number;
  /** Whether devices show certificates on TLS connections, beside their access tokens. */
  clientCertificates: 'off' | 'optional' | 'require';
}

/** For operators of a central with AUTH=mac. */
export const MAC_WARNING = 'AUTH=mac: a device that has never enrolled is known by its MAC alone, and so is each client that names it';

/** Injection token of IdentityOptions. */
export const IDENTITY_OPTIONS = Symbol('identity options');
