import { type BorderedIndex, sha256 } from '@waypost/contracts';
import { type ChunkRun, cutRuns, type KeyedSource } from '@waypost/runtime';
import type pg from 'pg';

interface Compared {
  /** Places of chunks that have other rows, in order. */
  drifted: number[];
  /** What was read. */
  rows: number;
  rawBytes: number;
}

/**
 * Reads the key ranges of chunks and compares them with what was verified last. The client must be in a transaction with pinned session.
 * @param runs in order
 */
export async function findDrift(
  client: pg.ClientBase,
  source: KeyedSource,
  { index, borders }: BorderedIndex,
  { runs, signal }: { runs: readonly ChunkRun[]; signal?: AbortSignal },
): Promise<Compared> {
  let [rows, rawBytes] = [0, 0];
  const onChunk = (bytes: Buffer, rowCount: number): string => {
    rows += rowCount;
    rawBytes += bytes.length;
    return sha256(bytes).toString('latin1');
  };
  const read = await cutRuns(client, runs, { source, borders, onChunk, signal });
  const drifted = read.flatMap(({ first, end, chunks }) => {
    const found = new Set(chunks);
    const places = Array.from({ length: end - first }, (_, at) => first + at);
    const missing = places.filter((at) => !found.has(index.entry(at).digest.toString('latin1')));
    // All chunks are there, and others beside them: rows too many behind the last one.
    return missing.length === 0 && chunks.length > places.length ? [end - 1] : missing;
  });
  return { drifted, rows, rawBytes };
}
