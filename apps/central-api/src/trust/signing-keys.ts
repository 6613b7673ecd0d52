import type { KeyObject } from 'node:crypto';
import type { Signer, TrustDocument } from '@waypost/contracts';
import type { Query } from '@waypost/runtime';
import { privateKeyOf, rawPublicKey, thumbprintOf } from '../identity/ed25519.js';
import { DELETE_SIGNING_KEYS, MAKE_SIGNING_KEY, READ_SIGNING_KEYS } from './trust.sql.js';

export type KeyUse = 'root' | 'manifest';

/** A private key that central's database holds. */
export interface SigningKey extends Signer {
  id: string;
  use: KeyUse;
}

interface Row {
  id: string;
  use: KeyUse;
  seed: Buffer;
}

/** The newest first. */
export async function readSigningKeys(query: Query): Promise<SigningKey[]> {
  return (await query<Row>(READ_SIGNING_KEYS)).map(keyOf);
}

/** A new one, made by the database. */
export async function makeSigningKey(query: Query, use: KeyUse): Promise<SigningKey> {
  const [row] = await query<Row>(MAKE_SIGNING_KEY, [use]);
  return keyOf(row as Row);
}

export async function deleteSigningKeys(query: Query, keys: readonly SigningKey[]): Promise<void> {
  if (keys.length > 0) await query(DELETE_SIGNING_KEYS, [keys.map(({ id }) => id)]);
}

/** As a trust document names it. */
export function publicPartOf({ kid, privateKey }: Signer): { kid: string; x: string } {
  return { kid, x: rawPublicKey(privateKey).toString('base64url') };
}

/** @param privateKey Ed25519 */
export function signerOf(privateKey: KeyObject): Signer {
  return { kid: thumbprintOf(rawPublicKey(privateKey)), privateKey };
}

/** The one that central signs manifests with. */
export function onlineKeyOf({ keys }: TrustDocument): TrustDocument['keys'][number] | undefined {
  return keys.find(({ use }) => use === 'manifest');
}

function keyOf({ id, use, seed }: Row): SigningKey {
  return { id, use, ...signerOf(privateKeyOf(seed)) };
}
