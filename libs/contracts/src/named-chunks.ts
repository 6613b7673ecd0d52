import { z } from 'zod';
import type { ChunkIndex } from './chunk-stream.js';
import { type ChunkEntry, ChunkIndexBuilder } from './chunk-stream.js';
import { NO_ROWS, SEGMENT_CHECK_BYTES, type SegmentEntry } from './delta-stream.js';
import { sha256 } from './hashes.js';
import { sha256HexSchema } from './manifest.js';

/** A device names each of its chunks by so many first bytes of the digest: two of 100,000 are taken for one another once in 10⁹ tables, and then the table's hash tells. */
export const NAMED_DIGEST_BYTES = 8;
/** What fits into a body of 1 MiB: the chunks of some 25,000,000 rows. */
export const MAX_NAMED_CHUNKS = 98_000;
export const MAX_NAMED_BODY_BYTES = 1 << 20;

/** POST …/tables/{name}/delta: what a device holds of a table. */
export const namedChunksSchema = z.object({
  /** The table's hash. */
  sha256: sha256HexSchema,
  /** As of nameChunks, in base64. */
  digests: z.string().transform((text, context) => {
    const bytes = Buffer.from(text, 'base64');
    const isExact = bytes.length % NAMED_DIGEST_BYTES === 0 && bytes.toString('base64') === text;
    if (isExact && bytes.length <= MAX_NAMED_CHUNKS * NAMED_DIGEST_BYTES) return bytes;
    const message = isExact
      ? `more than ${MAX_NAMED_CHUNKS} chunks are named`
      : `expected base64 of ${NAMED_DIGEST_BYTES} bytes for each chunk`;
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  }),
});
export type NamedChunks = z.infer<typeof namedChunksSchema>;

/** The first bytes of the digest of each chunk, in key order. */
export function nameChunks(index: ChunkIndex): Buffer {
  const names = Buffer.alloc(index.length * NAMED_DIGEST_BYTES);
  for (let at = 0; at < index.length; at += 1) index.entry(at).digest.copy(names, at * NAMED_DIGEST_BYTES, 0, NAMED_DIGEST_BYTES);
  return names;
}

/** What leads from chunks that are only named to a table. */
export interface NamedDelta {
  /** Each with at most one old and one new chunk, so that no more has to be in memory where they are applied. */
  segments: SegmentEntry[];
  /** The new chunks, in order: their own frames are those of the segments. */
  chunks: ChunkIndex;
}

/**
 * Finds the chunks of a table that are not among those that a device has named. Where these are the chunks of an earlier state of the table, in key order, each chunk
 * that is in both stays.
 * @param held as of nameChunks
 */
export function matchChunks(held: Buffer, to: ChunkIndex): NamedDelta {
  const heldCount = held.length / NAMED_DIGEST_BYTES;
  const places = new Map(Array.from({ length: heldCount }, (_, at) => [nameAt(held, at * NAMED_DIGEST_BYTES), at] as const));
  const segments: SegmentEntry[] = [];
  const chunks = new ChunkIndexBuilder(to.format);
  let [next, kept] = [0, 0];
  let coming: ChunkEntry[] = [];
  const replaceUntil = (place: number): void => {
    const count = Math.max(place - next, coming.length);
    for (let at = 0; at < count; at += 1) segments.push(segmentOf(at === 0 ? kept : 0, next + at < place, coming[at]));
    for (const entry of coming) chunks.add(entry);
    if (count > 0) [kept, coming] = [0, []];
    next = place;
  };
  for (const entry of to) {
    const place = places.get(nameAt(entry.digest, 0));
    if (place === undefined || place < next) {
      coming.push(entry);
      continue;
    }
    replaceUntil(place);
    kept += 1;
    next = place + 1;
  }
  replaceUntil(heldCount);
  return { segments, chunks: chunks.build() };
}

function nameAt(bytes: Buffer, start: number): string {
  return bytes.toString('latin1', start, start + NAMED_DIGEST_BYTES);
}

function segmentOf(keptChunks: number, hasOld: boolean, entry: ChunkEntry | undefined): SegmentEntry {
  return {
    ...NO_ROWS,
    keptChunks,
    oldChunks: Number(hasOld),
    newChunks: entry ? 1 : 0,
    rawBytes: entry?.rawBytes ?? 0,
    frameBytes: entry?.frameBytes ?? 0,
    check: entry ? entry.digest.subarray(0, SEGMENT_CHECK_BYTES) : NO_CHECK,
  };
}

const NO_CHECK = sha256(Buffer.alloc(0)).subarray(0, SEGMENT_CHECK_BYTES);
