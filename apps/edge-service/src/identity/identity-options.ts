export interface IdentityOptions {
  /** Where the device's private key is stored. */
  folder: string;
  /** One-time secret of an operator. */
  enrollmentToken: string | undefined;
  deviceMac: string;
}

/** Injection token of IdentityOptions. */
export const IDENTITY_OPTIONS = Symbol('identity options');
