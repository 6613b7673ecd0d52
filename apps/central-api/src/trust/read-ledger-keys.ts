import { fleetName, type SigningKey, type VerifierKey, verifierKeyOf, WaypostError } from '@waypost/contracts';
import type { Query } from '@waypost/runtime';
import { privateKeyOf } from '../identity/ed25519.js';
import { READ_LEDGER_KEYS } from './trust.sql.js';

/** Who signs for the ledger. */
export interface LedgerSigners {
  /** First line of each checkpoint, and name of its keys. */
  origin: string;
  fleet: string;
  /** The one that signs checkpoints. */
  signer: SigningKey;
  /** Those by which checkpoints of this ledger are verified, the newest first. */
  verifiers: readonly VerifierKey[];
}

/** The keys as the database has them. */
export async function readLedgerKeys(query: Query): Promise<LedgerSigners> {
  const rows = await query<{ seed: Buffer; fleet: string }>(READ_LEDGER_KEYS);
  const [newest] = rows;
  if (!newest) throw new WaypostError('LEDGER_INVALID', { detail: 'The ledger has no key: waypost.ledger_keys is empty.' });
  const { fleet } = newest;
  const origin = fleetName(fleet);
  const keys = rows.map(({ seed }): SigningKey => ({ name: origin, privateKey: privateKeyOf(seed) }));
  return { origin, fleet, signer: keys[0] as SigningKey, verifiers: keys.map(verifierKeyOf) };
}
