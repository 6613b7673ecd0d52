import { type BorderedIndex, type ErrorCode, keyFieldsOf, MAX_SEGMENT_BYTES, sha256, WaypostError } from '@waypost/contracts';
import { type ChunkRun, copyIn, cutRuns, describeSpan, faultPoint, type KeyedSource } from '@waypost/runtime';
import type pg from 'pg';
import type { ChangeSource, ChunkChange } from '../chunk-source/change-source.js';
import { type HeldChunks, readHeldChunks } from '../state/held-chunks.js';
import { keyedSource } from '../verify/verify-table.js';
import { rowsAsCopyData } from './copy-data.js';
import { diffRows } from './diff-rows.js';
import type { MergedTable } from './merged-table.js';
import * as sql from './merge.sql.js';
import { ResultHash } from './result-hash.js';

/** What was staged of a table. */
export interface StagedChanges {
  source: KeyedSource;
  /** The chunks that it was compared with. */
  held: BorderedIndex;
  /** The same, as they are stored; undefined where others are. */
  stored: HeldChunks | undefined;
  /** The chunks whose key ranges the rows lie in, in order. */
  runs: ChunkRun[];
  /** Rows that come, change or go. */
  rows: number;
}

/** Changes are compared with the rows that are there, together, up to about this much. */
const BATCH_BYTES = 4 << 20;

/**
 * Puts the rows that a change brings beside the local ones, in a temporary table, and the keys of those that go in another one. The old rows are read from the
 * mirror: nothing is compared with rows that are not what the device is known to hold. Memory holds a few MB, or one chunk where that is longer.
 * @throws WaypostError MIRROR_DRIFTED where the rows are other ones; CHUNK_CORRUPT
 */
export async function stageChanges(client: pg.ClientBase, merged: MergedTable, changes: ChangeSource): Promise<StagedChanges> {
  const { table, local } = merged;
  const stored = changes.from ? undefined : await readHeldChunks(client, table);
  const held = changes.from ?? stored;
  if (held?.index.totals().sha256 !== changes.baseSha256)
    throw new MirrorDrifted(table.name, 'the chunks that are stored of it are not those of the manifest that the device holds');
  const source = keyedSource(table, local, merged.hasRetained);
  const shape = { fieldCount: table.columns.length, keyFields: keyFieldsOf(table) };
  await client.query(sql.createStagedRows(merged));
  await client.query(sql.createGoneKeys(merged));
  const runs: ChunkRun[] = [];
  const result = changes.leadsTo === undefined ? undefined : new ResultHash(held.index);
  let rows = 0;
  for await (const batch of batchesOf(changes, held)) {
    const before = await readChanged(client, { name: table.name, source, held }, batch);
    const written: Buffer[] = [];
    const gone: Buffer[] = [];
    for (const [at, change] of batch.entries()) {
      const old = before[at] as Buffer;
      const now = change.open(old);
      const { lastKey, ...diff } = diffRows(shape, old, now);
      result?.add(change, now);
      written.push(...diff.written);
      gone.push(...diff.gone);
      addRun(runs, change, held, lastKey);
    }
    await faultPoint('edge.changes-opened');
    rows += written.length + gone.length;
    if (written.length > 0) await copyIn(client, sql.copyIntoStagedRows(merged), rowsAsCopyData(written));
    if (gone.length > 0) await copyIn(client, sql.copyIntoGoneKeys(merged), rowsAsCopyData(gone));
  }
  if (changes.leadsTo !== undefined) result?.check(changes.leadsTo);
  await client.query(`ANALYZE ${sql.stagedRows(merged)}`);
  await client.query(`ANALYZE ${sql.goneKeys(merged)}`);
  describeSpan({ 'waypost.rows': rows, 'waypost.read_chunks': runs.reduce((sum, { first, end }) => sum + end - first, 0) });
  return { source, held, stored, runs, rows };
}

async function* batchesOf(changes: ChangeSource, { index }: BorderedIndex): AsyncGenerator<ChunkChange[], void> {
  let batch: ChunkChange[] = [];
  let bytes = 0;
  let place = 0;
  for await (const change of changes.changes()) {
    const { first, end, rawBytes } = change;
    if (first < place || end < first || end > index.length)
      throw new WaypostError('CHUNK_CORRUPT', { detail: 'A change names chunks that are not there.' });
    let length = 0;
    for (let at = first; at < end; at += 1) length += index.entry(at).rawBytes;
    // Memory holds it in several forms.
    if (length > MAX_SEGMENT_BYTES) throw new WaypostError('CHUNK_CORRUPT', { detail: 'A change replaces chunks that are too long.' });
    length += rawBytes;
    if (bytes + length > BATCH_BYTES && batch.length > 0) {
      yield batch;
      [batch, bytes] = [[], 0];
    }
    batch.push(change);
    bytes += length;
    place = end;
  }
  if (batch.length > 0) yield batch;
}

/** The old chunks of each change, one after another, as they are in the database. @throws WaypostError MIRROR_DRIFTED */
async function readChanged(
  client: pg.ClientBase,
  { name, source, held: { index, borders } }: { name: string; source: KeyedSource; held: BorderedIndex },
  batch: readonly ChunkChange[],
): Promise<Buffer[]> {
  const runs = batch.filter(({ first, end }) => end > first).map(({ first, end }) => ({ first, end }));
  const expected = new Set(runs.flatMap(({ first, end }) => digestsOf(index, first, end)));
  /** Of a range with other rows nothing is kept: it may grow while it is read. */
  const keepExpected = (bytes: Buffer): { digest: string; bytes: Buffer } | undefined => {
    const digest = sha256(bytes).toString('latin1');
    return expected.has(digest) ? { digest, bytes: Buffer.from(bytes) } : undefined;
  };
  const read = await cutRuns(client, runs, { source, borders, onChunk: keepExpected });
  let next = 0;
  return batch.map(({ first, end }) => {
    if (first === end) return Buffer.alloc(0);
    const run = read[next];
    next += 1;
    const digests = digestsOf(index, first, end);
    const isHeld = run?.first === first && run.end === end && run.chunks.length === digests.length;
    if (!isHeld || run.chunks.some((chunk, at) => chunk?.digest !== digests[at]))
      throw new MirrorDrifted(
        name,
        `chunks ${first} to ${end - 1} of ${index.length} have other rows than when they were last verified`,
        end - first,
      );
    return run.chunks.length === 1 ? run.chunks[0]!.bytes : Buffer.concat(run.chunks.map((chunk) => chunk!.bytes));
  });
}

function digestsOf(index: BorderedIndex['index'], first: number, end: number): string[] {
  return Array.from({ length: end - first }, (_, at) => index.entry(first + at).digest.toString('latin1'));
}

/**
 * Adds the chunks whose key ranges have the rows of a change now. Where its last row is another one than that of its old chunks, it may lie behind them, in the
 * range of the chunk that follows; that of the last chunk has no end.
 */
function addRun(runs: ChunkRun[], { first, end }: ChunkChange, { borders }: BorderedIndex, lastKey: Buffer | undefined): void {
  const isCovered = lastKey === undefined || (end > first && lastKey.equals(borders.key(end - 1)));
  const run = { first: Math.min(first, borders.length - 1), end: Math.min(isCovered ? end : end + 1, borders.length) };
  const last = runs.at(-1);
  if (last && run.first < last.end) last.end = Math.max(last.end, run.end);
  else if (run.first < run.end) runs.push(run);
}

/** Whether a load can be done with the tables' own chunks where the changes were of no use. */
export function isUnusableChange(error: unknown): error is WaypostError {
  const codes: readonly ErrorCode[] = ['MIRROR_DRIFTED', 'CHUNK_CORRUPT', 'VERIFICATION_FAILED'];
  return error instanceof WaypostError && codes.includes(error.code);
}

/** Rows of a table are not those that were verified last: it is to be read again. */
export class MirrorDrifted extends WaypostError {
  constructor(
    readonly table: string,
    why: string,
    /** Chunks that have other rows, as far as they were looked at. */
    readonly chunks = 1,
  ) {
    super('MIRROR_DRIFTED', { detail: `${table}: ${why}.` });
  }
}
