import { Inject, Injectable } from '@nestjs/common';
import { fleetName, type SigningKey, type VerifierKey, verifierKeyOf, WaypostError } from '@waypost/contracts';
import { type Query, queryOn, withClient } from '@waypost/runtime';
import type pg from 'pg';
import { LEDGER_POOL } from '../database/pools.js';
import { privateKeyOf } from '../identity/ed25519.js';
import { READ_LEDGER_KEYS } from './ledger.sql.js';

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

/** The ledger's keys. They are made with its tables, and shared by all replicas. */
@Injectable()
export class LedgerKeys {
  private loading: Promise<LedgerSigners> | undefined;

  constructor(@Inject(LEDGER_POOL) private readonly pool: pg.Pool) {}

  get(): Promise<LedgerSigners> {
    this.loading ??= withClient(this.pool, (client) => readLedgerKeys(queryOn(client))).catch((error: unknown) => {
      this.loading = undefined;
      throw error;
    });
    return this.loading;
  }
}
