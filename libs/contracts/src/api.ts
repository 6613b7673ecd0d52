import { z } from 'zod';
import { sha256Hex } from './hashes.js';
import { ERROR_KINDS, type WaypostError } from './errors.js';
import { sha256HexSchema, ulidSchema } from './manifest.js';
import { MAX_RECEIPTS_OF_ACK, signedReceiptSchema } from './signed-receipt.js';
import { manifestSignatureSchema } from './trust.js';

/** A MAC in any usual notation; normalizeMac judges it. The length keeps junk out of the audit. */
const macSchema = z.string().min(1).max(64);

/** What an edge already holds. Central uses it to detect that it was restored to an earlier state, and to answer briefly. */
const haveSchema = z.object({
  epoch: z.string().min(1).max(64),
  sequence: z.int().positive(),
  manifestId: ulidSchema,
  /** The receipt that central gave for this device's acknowledgement of it. */
  receipt: z.string().max(128).optional(),
});

/** Header of a device's requests: the ULID of the sync cycle that they belong to, for central's log and audit. */
export const CYCLE_ID_HEADER = 'waypost-cycle-id';
/** Header of each answer: the request's id in the log and audit of the answering side. */
export const REQUEST_ID_HEADER = 'waypost-request-id';

/** Header of central's answers to a request for a manifest: which database it serves, so that a device does not take it for its own. Older devices ignore it. */
export const DATABASE_HEADER = 'waypost-database';

/** The header's value: a hash, which reveals nothing about the server. @param identity the server's system identifier, and the database's oid */
export function databaseFingerprint(identity: string): string {
  return sha256Hex(`waypost database ${identity}`);
}

/** POST /api/device-sync/request */
export const syncRequestSchema = z.object({
  mac: macSchema,
  have: haveSchema.optional(),
  /** Also send the rows: as one JSON document or as lines. */
  payload: z.enum(['json', 'ndjson']).optional(),
  /** Deltas of up to so many bytes together may come with the manifest. Central encloses no more than MAX_ENCLOSED_BYTES. */
  encloseDeltas: z.int().nonnegative().optional(),
});
export type SyncRequest = z.infer<typeof syncRequestSchema>;
export type Have = z.infer<typeof haveSchema>;

/** A longer delta is worth a request of its own. */
export const MAX_ENCLOSED_BYTES = 16 << 10;

/** Beside a manifest: delta streams from the manifest that the device holds, by table. */
export const enclosedDeltasSchema = z.object({ deltas: z.record(z.string().max(256), z.base64()) });
export type EnclosedDeltas = z.infer<typeof enclosedDeltasSchema>;

/** The preference (RFC 7240) of a device that keeps its manifest: an answer that would repeat it need not. */
export const PREFER_MINIMAL = 'return=minimal';

/** The short answer where nothing has changed since the manifest that the device holds. `sha256` is the manifest's own. */
export const unchangedResponseSchema = z.object({
  unchanged: z.object({ manifestId: ulidSchema, sha256: sha256HexSchema }),
  /** Of the manifest that is named. Centrals of earlier versions leave it out. */
  signature: manifestSignatureSchema.optional(),
});
export type UnchangedResponse = z.infer<typeof unchangedResponseSchema>;

/** Whether a Prefer header asks for PREFER_MINIMAL; of a preference that is named twice, the first counts. */
export function prefersMinimal(header: string | string[] | undefined): boolean {
  if (header === undefined) return false;
  if (header === PREFER_MINIMAL) return true;
  const preferences = String(header)
    .split(',')
    .map((part) => (part.split(';')[0] as string).replaceAll(/[\s"]/g, '').toLowerCase());
  return preferences.find((preference) => preference.startsWith('return=')) === PREFER_MINIMAL;
}

/** No sync takes longer than a year; larger values are wrong, and their sums would overflow. */
export const MAX_ACK_DURATION_MS = 366 * 86_400_000;

/** A longer key is cut off. */
export const MAX_KEY_CHARS = 1024;
export const MAX_DRIFTS_OF_ACK = 100;
/** What PostgreSQL's integer holds. */
const MAX_CHUNKS = 2 ** 31 - 1;

/** Chunks whose rows a device found to be other ones than it had verified. Keys are text, column by column; null: the table's beginning or end. */
export const driftSchema = z.object({
  table: z.string().max(256),
  chunks: z.int().positive().max(MAX_CHUNKS),
  /** More than this key. */
  firstKey: z.string().max(MAX_KEY_CHARS).nullable(),
  /** Up to this key. */
  lastKey: z.string().max(MAX_KEY_CHARS).nullable(),
  /** By the device's clock, in UTC. PostgreSQL has no year 0. */
  foundAt: z.iso.datetime().regex(/^(?!0000)/),
});
export type DriftReport = z.infer<typeof driftSchema>;

/** POST /api/device-sync/ack */
export const ackSchema = z.object({
  manifestId: ulidSchema,
  mac: macSchema,
  status: z.enum(['Success', 'Failed']),
  localCounts: z.record(z.string().max(256), z.int().nonnegative()),
  localChecksums: z.record(z.string().max(256), sha256HexSchema),
  durationMs: z.int().nonnegative().max(MAX_ACK_DURATION_MS),
  error: z.string().max(8192).nullish(),
  /** Found since the last ack that central has, and put right by this load. */
  drifts: z.array(driftSchema).max(MAX_DRIFTS_OF_ACK).optional(),
  /** Of an enrolled device: what it signed for this ack, last, and before it what central does not have yet, in their order. */
  receipts: z.array(signedReceiptSchema).min(1).max(MAX_RECEIPTS_OF_ACK).optional(),
});
export type Ack = z.infer<typeof ackSchema>;

/** How central judges an ack. `result` can be `Failed` where the edge sent `Success`. */
export const ackResponseSchema = z.object({
  manifestId: ulidSchema,
  result: z.enum(['Success', 'Failed']),
  /** Why it counts as failed: the edge's error, or which counts and hashes differ. */
  reason: z.string().nullable(),
  /** True when this ack, or a success for the manifest, is stored already. */
  duplicate: z.boolean(),
  /** Of a success in the epoch in force: proves later that central gave this manifest to this device, which acknowledged it. */
  receipt: z.string().max(128).optional(),
});
export type AckResponse = z.infer<typeof ackResponseSchema>;

/** RFC 9457 problem document, the form of all errors of both services. */
export const problemSchema = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string().optional(),
  code: z.string(),
  hint: z.string(),
  /** The id under which the log has this request. */
  requestId: z.string().optional(),
});
export type Problem = z.infer<typeof problemSchema>;
export const PROBLEM_TYPE = 'application/problem+json';

/** The problem document of an error. */
export function toProblem(error: WaypostError, requestId?: string): Problem {
  return {
    type: 'about:blank',
    title: ERROR_KINDS[error.code].title,
    status: error.status,
    ...(error.detail === undefined ? {} : { detail: error.detail }),
    code: error.code,
    hint: error.hint,
    ...(requestId === undefined ? {} : { requestId }),
  };
}

/** Path of a manifest that was issued before. The device names itself by `?mac=`. */
export function manifestPath(manifestId: string): string {
  return `/api/device-sync/manifests/${manifestId}`;
}

/** Path of the chunk stream of one table of a manifest. The device names itself by `?mac=`; ranges resume it. */
export function chunkStreamPath(manifestId: string, table: string): string {
  return `${tablePath(manifestId, table)}/chunks`;
}

/** Path of the delta stream of one table of a manifest. The device names itself by `?mac=`, and the manifest that it holds by `?base=`; ranges resume it. */
export function deltaPath(manifestId: string, table: string): string {
  return `${tablePath(manifestId, table)}/delta`;
}

function tablePath(manifestId: string, table: string): string {
  return `${manifestPath(manifestId)}/tables/${encodeURIComponent(table)}`;
}
