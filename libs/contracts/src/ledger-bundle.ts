import { z } from 'zod';
import { canonicalJson } from './canonical-json.js';
import { sha256 } from './hashes.js';
import { thumbprintSchema } from './identity.js';
import { treeHashSchema } from './ledger-api.js';
import { ulidSchema } from './manifest.js';
import { type SigningKey, signNote } from './signed-note.js';
import { MAX_PROOF_HASHES } from './verify-proof.js';

/** Names the format, in the first line and in the seal. */
export const BUNDLE_FORMAT = 'waypost-ledger-bundle';

const proofSchema = z.array(treeHashSchema).max(MAX_PROOF_HASHES);

/** The first line. */
export const bundleHeaderSchema = z.strictObject({
  format: z.literal(BUNDLE_FORMAT),
  version: z.literal(1),
  device: ulidSchema,
  /** Entries that central appended since then, by its clock; null: from the ledger's beginning. */
  from: z.iso.datetime().nullable(),
  /** And before then. */
  to: z.iso.datetime(),
  origin: z.string().min(1).max(256),
  /** Verifier keys of the ledger. */
  keys: z.array(z.string().max(512)).min(1).max(16),
  /** The device's keys: an Ed25519 public key in base64url by its thumbprint. */
  deviceKeys: z.array(z.strictObject({ thumbprint: thumbprintSchema, publicKey: z.string().regex(/^[\w-]{43}$/) })).max(1000),
  /** Signed note: the tree that the proofs of all entries lead to. */
  checkpoint: z.string(),
  /** Earlier checkpoints, the oldest first, each with the proof that the next one continues it. */
  earlier: z.array(z.strictObject({ checkpoint: z.string(), proof: proofSchema })).max(100),
  /** How many lines of entries follow. */
  entries: z.int().nonnegative(),
});
export type BundleHeader = z.infer<typeof bundleHeaderSchema>;

/** A line between the first and the last. Their indexes grow. */
export const bundleEntrySchema = z.strictObject({
  index: z.int().nonnegative(),
  /** The leaf's data. */
  entry: z.string(),
  /** To the root of the header's checkpoint. */
  proof: proofSchema,
});
export type BundleEntry = z.infer<typeof bundleEntrySchema>;

/** The last line: the ledger's word that these lines are all that it has of this device and time. */
export const bundleSealSchema = z.strictObject({
  /** Signed note over sealText. */
  seal: z.string(),
});

/** A line of a bundle: the RFC 8785 form, hashes in base64, and a line feed. */
export function bundleLine(content: object): string {
  return `${canonicalJson(encodeHashes(content))}\n`;
}

/** What a seal says: the origin, the format, the SHA-256 of the first line, and that of all lines before the seal. @param before those lines */
export function sealText(origin: string, before: readonly string[]): string {
  const digest = (text: string): string => sha256(Buffer.from(text)).toString('base64');
  return `${origin}\n${BUNDLE_FORMAT} v1\n${digest(before[0] ?? '')}\n${digest(before.join(''))}\n`;
}

/** The last line of a bundle. */
export function sealLine(origin: string, before: readonly string[], signer: SigningKey): string {
  return bundleLine({ seal: signNote(sealText(origin, before), [signer]) });
}

function encodeHashes(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return value.toString('base64');
  if (Array.isArray(value)) return value.map(encodeHashes);
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, encodeHashes(member)]));
  return value;
}
