import { z } from 'zod';
import { canonicalJson } from './canonical-json.js';
import { WaypostError } from './errors.js';
import { sha256HexSchema, ulidSchema } from './manifest.js';
import { MAX_RECEIPT_CHARS, signedReceiptSchema } from './signed-receipt.js';

/** A device's receipt, and how central recorded the ack that it came with. */
const receiptEntrySchema = z.strictObject({
  version: z.literal(1),
  kind: z.literal('receipt'),
  receipt: z.string().max(MAX_RECEIPT_CHARS),
  signature: signedReceiptSchema.shape.signature,
  /** The row of waypost.sync_acknowledgements; null where the ack was a repeat, one failure too many, or was never sent. */
  ack: z.strictObject({ id: z.int().positive(), sha256: sha256HexSchema }).nullable(),
});
export type ReceiptEntry = z.infer<typeof receiptEntrySchema>;

/** Central's own word: how often a device asked within an hour and was told that it holds what it should. */
const pollsEntrySchema = z.strictObject({
  version: z.literal(1),
  kind: z.literal('polls'),
  device: ulidSchema,
  mac: z.string().max(64),
  /** Its beginning, in UTC. */
  hour: z.iso.datetime(),
  polls: z.int().positive(),
  /** The one that the last of them was about. */
  manifestId: ulidSchema,
  manifestSha256: sha256HexSchema,
});
export type PollsEntry = z.infer<typeof pollsEntrySchema>;

/** An entry of the ledger. The data of its leaf are the bytes of its RFC 8785 form. */
export const ledgerEntrySchema = z.discriminatedUnion('kind', [receiptEntrySchema, pollsEntrySchema]);
export type LedgerEntry = z.infer<typeof ledgerEntrySchema>;

/** The text whose UTF-8 bytes are the leaf's data. */
export function formatEntry(entry: LedgerEntry): string {
  return canonicalJson(entry);
}

/**
 * Reads an entry; accepts nothing that formatEntry does not write.
 * @throws WaypostError LEDGER_INVALID
 */
export function parseEntry(text: string): LedgerEntry {
  const json = parseJson(text);
  const { data } = ledgerEntrySchema.safeParse(json);
  if (!data || !text.isWellFormed() || canonicalJson(json) !== text)
    throw new WaypostError('LEDGER_INVALID', { detail: 'An entry of the ledger is not in the canonical form of one.' });
  return data;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
