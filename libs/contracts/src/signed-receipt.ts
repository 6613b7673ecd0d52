import { type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from './canonical-json.js';
import { WaypostError } from './errors.js';
import { sha256Hex } from './hashes.js';
import { thumbprintSchema } from './identity.js';
import { sha256HexSchema, ulidSchema } from './manifest.js';

/** What stands before a receipt's body where it is signed: a device's key signs other texts, too, and none can be taken for another. */
const DOMAIN = 'waypost receipt v1\n';
/** A longer receipt is refused before it is read. A table needs some 150 bytes. */
export const MAX_RECEIPT_CHARS = 256 << 10;
/** An ack carries its own receipt, and those before it that central does not have yet. */
export const MAX_RECEIPTS_OF_ACK = 20;
const MAX_TABLES = 10_000;

const receiptTableSchema = z.strictObject({
  name: z.string().max(256),
  rowCount: z.int().nonnegative(),
  sha256: sha256HexSchema,
  /**
   * What of it was read back from the device's database for this receipt: `whole`, all rows; `changed`, the key ranges that rows came into or left; `none`,
   * the hash is that of an earlier reading.
   */
  read: z.enum(['whole', 'changed', 'none']),
});
export type ReceiptTable = z.infer<typeof receiptTableSchema>;

/** What a device says of one manifest. Times are those of the device's clock. */
export const receiptSchema = z.strictObject({
  version: z.literal(1),
  fleet: ulidSchema,
  /** The device's id. */
  device: ulidSchema,
  mac: z.string().max(64),
  /** Thumbprint of the key that signs it. */
  key: thumbprintSchema,
  /** Of this key's receipts: 1, 2, 3, … without a gap. */
  sequence: z.int().positive(),
  /** SHA-256 of the body of this key's receipt before it; null in the first. */
  previous: sha256HexSchema.nullable(),
  manifestId: ulidSchema,
  /** Null where the device failed before it had the manifest checked. */
  manifestSha256: sha256HexSchema.nullable(),
  result: z.enum(['Success', 'Failed']),
  /** Code of the error of a failure. */
  error: z.string().max(64).nullable(),
  /** In the manifest's order; empty in a failure. */
  tables: z.array(receiptTableSchema).max(MAX_TABLES),
  startedAt: z.iso.datetime(),
  completedAt: z.iso.datetime(),
});
export type Receipt = z.infer<typeof receiptSchema>;

/** A receipt as it travels and is stored: its body is never written again, so that its bytes stay those that were signed. */
export const signedReceiptSchema = z.object({
  /** RFC 8785 form of a Receipt. */
  body: z.string().min(2).max(MAX_RECEIPT_CHARS),
  /** Ed25519, base64url. */
  signature: z.string().regex(/^[\w-]{86}$/),
});
export type SignedReceipt = z.infer<typeof signedReceiptSchema>;

/** Signs a receipt. @param privateKey that of the thumbprint in it */
export function signReceipt(receipt: Receipt, privateKey: KeyObject): SignedReceipt {
  const body = canonicalJson(receipt);
  return { body, signature: sign(null, signedBytes(body), privateKey).toString('base64url') };
}

/** How the next receipt of the same key names this one, and how it is looked up. @param body of a signed receipt */
export function receiptSha256(body: string): string {
  return sha256Hex(body);
}

/**
 * Reads a receipt's body; accepts its canonical form alone. Says nothing about who signed it.
 * @throws WaypostError RECEIPT_INVALID
 */
export function parseReceipt(body: string): Receipt {
  const json = parseJson(body);
  const parsed = receiptSchema.safeParse(json);
  if (!parsed.success) {
    const [{ path, message }] = parsed.error.issues as [z.core.$ZodIssue];
    throw invalid(`${path.length > 0 ? path.join('.') : 'it'}: ${message}`);
  }
  const { data } = parsed;
  if (!body.isWellFormed() || canonicalJson(json) !== body) throw invalid('its form is not the canonical one of RFC 8785');
  if ((data.sequence === 1) !== (data.previous === null)) throw invalid('only the first receipt of a key has none before it');
  return data;
}

/** Whether the key signed these bytes. */
export function verifiesReceipt({ body, signature }: SignedReceipt, publicKey: KeyObject): boolean {
  const bytes = Buffer.from(signature, 'base64url');
  return bytes.toString('base64url') === signature && verify(null, signedBytes(body), publicKey, bytes);
}

function signedBytes(body: string): Buffer {
  return Buffer.from(DOMAIN + body);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw invalid('it is not JSON');
  }
}

function invalid(why: string): WaypostError {
  return new WaypostError('RECEIPT_INVALID', { detail: `The receipt is not valid: ${why}.` });
}
