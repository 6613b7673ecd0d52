import { type ForkReport, sha256 } from '@waypost/contracts';
import type { Query } from '@waypost/runtime';
import { FIND_LEAF, FIND_RECEIPT, STORE_FORK } from './ledger.sql.js';

export interface FoundLeaf {
  index: number;
  /** The leaf's data. */
  entry: string;
}

/** An entry of this device, by the SHA-256 of its receipt or by its index; undefined where it has none such. */
export async function findOwnEntry(
  query: Query,
  asked: { receipt: string } | { index: number },
  deviceId: string,
): Promise<FoundLeaf | undefined> {
  const [found] =
    'receipt' in asked
      ? await query<FoundLeaf>(FIND_RECEIPT, [Buffer.from(asked.receipt, 'hex'), deviceId])
      : await query<FoundLeaf>(FIND_LEAF, [asked.index, deviceId]);
  return found;
}

/** Keeps what a device reports, each report once, and of one device only some that are open. @returns whether it is new, or had been resolved */
export async function storeFork(
  query: Query,
  { reason, seen, received, receipt }: ForkReport,
  { deviceId, isSigned }: { deviceId: string; isSigned: boolean },
): Promise<boolean> {
  const digest = sha256(Buffer.from(receipt === undefined ? `${seen}\n${received}` : `${seen}\n${received}\n${receipt}`));
  return (await query<object>(STORE_FORK, [deviceId, reason, seen, received, isSigned, digest])).length > 0;
}
