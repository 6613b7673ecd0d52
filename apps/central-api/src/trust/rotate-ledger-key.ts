import { signCheckpoint, type Signer } from '@waypost/contracts';
import type { Query } from '@waypost/runtime';
import { readLedgerKeys } from './read-ledger-keys.js';
import { signerOf } from './signing-keys.js';
import { ENSURE_LEDGER_KEY, LOCK_LEDGER, MAKE_LEDGER_KEY, READ_LAST_CHECKPOINT, STORE_NOTE } from './trust.sql.js';

/** The key that signs checkpoints. */
export async function ledgerSigner(query: Query): Promise<Signer> {
  return signerOf((await readLedgerKeys(query)).signer.privateKey);
}

/** As ledgerSigner; a new key where it was lost with the trust documents: what devices should hold does not wait for the ledger. In a transaction. */
export async function ensureLedgerSigner(query: Query): Promise<Signer> {
  await query(ENSURE_LEDGER_KEY);
  return ledgerSigner(query);
}

/**
 * Makes a new key for checkpoints, and signs the last one again with it: devices may refuse the key before from now on, and the ledger may not grow for long.
 * Earlier keys stay, for who verifies earlier checkpoints. In a transaction.
 */
export async function rotateLedgerKey(query: Query): Promise<Signer> {
  await query(LOCK_LEDGER);
  await query(MAKE_LEDGER_KEY);
  const { origin, signer } = await readLedgerKeys(query);
  const [last] = await query<{ size: number; root: Buffer }>(READ_LAST_CHECKPOINT);
  if (last) await query(STORE_NOTE, [last.size, signCheckpoint({ origin, ...last, extensions: [] }, [signer])]);
  return signerOf(signer.privateKey);
}
