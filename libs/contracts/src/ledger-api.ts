import { z } from 'zod';
import { isTreeHash } from './merkle-tree.js';
import { MAX_NOTE_BYTES } from './signed-note.js';
import { sha256HexSchema } from './manifest.js';
import { MAX_PROOF_HASHES } from './verify-proof.js';

/** Header of central's answers to a request for a manifest: the newest checkpoint of the ledger that central knows, as base64 of the signed note. */
export const CHECKPOINT_HEADER = 'waypost-checkpoint';

/** Where central's ledger is read: `checkpoint`, `tile/…`, `key`, `proof/inclusion`, `proof/consistency`, `forks`. */
export const LEDGER_PATH = '/api/ledger';

/** A hash of the tree in JSON. */
export const treeHashSchema = z
  .string()
  .transform((text) => Buffer.from(text, 'base64'))
  .refine(isTreeHash, 'must be base64 of 32 bytes');

const proofSchema = z.array(treeHashSchema).max(MAX_PROOF_HASHES);

/** GET /api/ledger/proof/consistency */
export const consistencyAnswerSchema = z.object({ from: z.int().nonnegative(), to: z.int().nonnegative(), proof: proofSchema });

/** GET /api/ledger/proof/inclusion, of a device's own receipt. */
export const inclusionAnswerSchema = z.object({
  index: z.int().nonnegative(),
  size: z.int().positive(),
  /** The leaf's data. */
  entry: z.string(),
  proof: proofSchema,
});

/** GET /api/ledger/key */
export const ledgerKeyAnswerSchema = z.object({ origin: z.string().min(1).max(256), keys: z.array(z.string().max(512)).min(1).max(16) });

/** POST /api/ledger/forks: two checkpoints that do not belong to one history, as a device sees it. */
export const forkReportSchema = z.object({
  /** What the device saw before. */
  seen: z.string().max(MAX_NOTE_BYTES),
  /** What came after it. */
  received: z.string().max(MAX_NOTE_BYTES),
  reason: z.string().max(1024),
  /** SHA-256 of a receipt that the ledger lacks, where that is what was found. */
  receipt: sha256HexSchema.optional(),
});
export type ForkReport = z.infer<typeof forkReportSchema>;
