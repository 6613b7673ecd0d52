import { type ForkReport, sha256 } from '@waypost/contracts';
import { queryPrepared, withClient } from '@waypost/runtime';
import type pg from 'pg';
import { FIND_LEAF, FIND_RECEIPT, STORE_FORK } from './ledger.sql.js';

/** An entry of the ledger, and where it is. */
export interface FoundEntry {
  index: number;
  entry: string;
}

/** An entry of this device, by its index or by the SHA-256 of its receipt; undefined where the device has none such. */
export async function findEntry(
  client: pg.ClientBase,
  asked: { receipt: string } | { index: number },
  deviceId: string,
): Promise<FoundEntry | undefined> {
  const [found] =
    'receipt' in asked
      ? await queryPrepared<FoundEntry>(client, 'entry by receipt', FIND_RECEIPT, [Buffer.from(asked.receipt, 'hex'), deviceId])
      : await queryPrepared<FoundEntry>(client, 'entry by index', FIND_LEAF, [asked.index, deviceId]);
  return found;
}

/** Keeps what a device found wrong with the ledger. @returns false where it was reported before */
export async function storeFork(
  pool: pg.Pool,
  deviceId: string,
  { seen, received, reason }: ForkReport,
  isSigned: boolean,
): Promise<boolean> {
  const digest = sha256(Buffer.from(`${seen}\n${received}`));
  const stored = await withClient(pool, (client) => client.query(STORE_FORK, [deviceId, reason, seen, received, isSigned, digest]));
  return stored.rowCount !== 0;
}
