import { z } from 'zod';

/** The variable IDENTITY_DIR. */
export const identityDir = z
  .string()
  .default('./var/identity')
  .describe('Folder for the device’s private key. It survives restarts, and belongs to the service’s user alone');

export interface IdentityOptions {
  /** Where the device's private key is stored. */
  folder: string;
  /** One-time secret of an operator. */
  enrollmentToken: string | undefined;
  deviceMac: string;
  /** Only the service does, which then goes on with the new one. */
  mayReplaceKey: boolean;
}

/** Injection token of IdentityOptions. */
export const IDENTITY_OPTIONS = Symbol('identity options');
