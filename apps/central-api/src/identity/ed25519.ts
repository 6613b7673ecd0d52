import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { keyThumbprint } from '@waypost/contracts';

/** What stands before the 32 bytes of a key in its DER form (RFC 8410). */
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const PUBLIC_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

/** Of an Ed25519 public key. */
export const PUBLIC_KEY_BYTES = 32;

/** @param seed 32 bytes */
export function privateKeyOf(seed: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PRIVATE_PREFIX, seed]), format: 'der', type: 'pkcs8' });
}

/** @param raw 32 bytes */
export function publicKeyOf(raw: Buffer): KeyObject {
  return createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX, raw]), format: 'der', type: 'spki' });
}

/** The 32 bytes of a public key, or of a private key's public one. */
export function rawPublicKey(key: KeyObject): Buffer {
  const spki = (key.type === 'private' ? createPublicKey(key) : key).export({ format: 'der', type: 'spki' });
  return spki.subarray(PUBLIC_PREFIX.length);
}

/** RFC 7638, base64url. @param raw 32 bytes */
export function thumbprintOf(raw: Buffer): string {
  return keyThumbprint(raw.toString('base64url'));
}
