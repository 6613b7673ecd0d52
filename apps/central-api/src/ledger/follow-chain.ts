import type { Receipt } from '@waypost/contracts';

/** The last receipt of a key, as far as the ledger has them. */
export interface ChainEnd {
  sequence: number;
  receiptSha256: string;
}

/**
 * Why a receipt does not continue its key's chain, as a sentence; undefined where it does. The ledger takes it all the same: a device whose database was
 * restored, or that was cloned, must not be stuck.
 */
export function findChainFault(
  end: ChainEnd | undefined,
  { sequence, previous }: Pick<Receipt, 'sequence' | 'previous'>,
): string | undefined {
  const expected = (end?.sequence ?? 0) + 1;
  if (sequence > expected) {
    const missing = sequence - 1 === expected ? `receipt ${expected} is` : `receipts ${expected} to ${sequence - 1} are`;
    return `${missing} missing before receipt ${sequence}`;
  }
  if (sequence < expected)
    return `another receipt ${sequence} came after receipt ${expected - 1}: the device's database went back, or two machines use its key`;
  if (previous !== (end?.receiptSha256 ?? null)) return `receipt ${sequence} names another receipt ${sequence - 1} than the ledger has`;
  return undefined;
}
