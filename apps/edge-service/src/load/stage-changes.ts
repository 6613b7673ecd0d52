import {
  type BorderedIndex,
  diffRows,
  type ErrorCode,
  keyRow,
  type ManifestTable,
  MAX_SEGMENT_BYTES,
  type RowChange,
  type RowShape,
  sha256,
  WaypostError,
} from '@waypost/contracts';
import {
  type ChunkRun,
  chunksOf,
  columnsOfKeys,
  copyIn,
  cutRuns,
  describeSpan,
  faultPoint,
  type KeyedSource,
  locateKeys,
  readRowsByKey,
  runsOf,
  shapeOf,
} from '@waypost/runtime';
import type pg from 'pg';
import { type ChangeSource, type ChunkChange, hasDigest, type RowsChange } from '../chunk-source/change-source.js';
import { type HeldChunks, readHeldChunks } from '../state/held-chunks.js';
import { keyedSource } from '../verify/verify-table.js';
import { rowsAsCopyData } from './copy-data.js';
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
 * Puts the rows that changes bring beside the local ones, in a temporary table, and the keys of those that go in another one. The old rows are read from the
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
  await client.query(`${sql.createStagedRows(merged)}; ${sql.createGoneKeys(merged)}`);
  const result = changes.leadsTo === undefined ? undefined : new ResultHash(held.index);
  const reading = { client, name: table.name, source, held };
  const touched = new Set<number>();
  let rows = 0;
  for await (const batch of batchesOf(changes, held)) {
    const { written, gone, places } = Array.isArray(batch) ? await openChunks(reading, batch, result) : await openRows(reading, batch);
    await faultPoint('edge.changes-opened');
    for (const place of places) touched.add(place);
    rows += written.length + gone.length;
    if (written.length > 0) await copyIn(client, sql.copyIntoStagedRows(merged), rowsAsCopyData(written));
    if (gone.length > 0) await copyIn(client, sql.copyIntoGoneKeys(merged), rowsAsCopyData(gone));
  }
  if (changes.leadsTo !== undefined) result?.check(changes.leadsTo);
  const statements = [sql.findStagedTwice(merged), sql.analyzeStagedRows(merged), `ANALYZE ${sql.goneKeys(merged)}`];
  // pg's types know nothing of several statements.
  const [twice] = (await client.query(statements.join('; '))) as unknown as pg.QueryResult[];
  if (twice?.rowCount !== 0) throw new WaypostError('CHUNK_CORRUPT', { detail: `The changes of ${table.name} bring a row twice.` });
  describeSpan({ 'waypost.rows': rows, 'waypost.read_chunks': touched.size });
  return { source, held, stored, runs: runsOf([...touched].sort((one, other) => one - other)), rows };
}

interface Reading {
  client: pg.ClientBase;
  /** Of the table. */
  name: string;
  source: KeyedSource;
  held: BorderedIndex;
}

/** What changes lead to. */
interface OpenedChanges {
  /** Rows that come or change. */
  written: Buffer[];
  /** Keys of rows that go, each as a row. */
  gone: Buffer[];
  /** The chunks whose key ranges these lie in, by their places. */
  places: number[];
}

async function openChunks(reading: Reading, batch: readonly ChunkChange[], result: ResultHash | undefined): Promise<OpenedChanges> {
  const shape = shapeOf(reading.source);
  const before = await readChanged(reading, batch);
  const opened: OpenedChanges = { written: [], gone: [], places: [] };
  for (const [at, change] of batch.entries()) {
    const old = before[at] as Buffer;
    const now = change.open(old);
    const { changes, endsAlike } = diffRows(shape, old, now);
    result?.add(change, now);
    addChanges(opened, shape, changes);
    opened.places.push(...placesOf(change, reading.held, endsAlike));
  }
  return opened;
}

/** Rows that are looked up have to be those that the change was made from. */
async function openRows({ client, name, source, held }: Reading, { keys, oldCheck, open }: RowsChange): Promise<OpenedChanges> {
  const shape = shapeOf(source);
  const found = await readRowsByKey(client, source, keys, { maxBytes: MAX_SEGMENT_BYTES });
  const old = Buffer.concat(keys.flatMap(({ key }) => found?.get(key.toString('latin1')) ?? []));
  if (!hasDigest(old, oldCheck))
    throw new MirrorDrifted(name, 'rows that central changed are not here as they were when they were last verified');
  const { changes } = diffRows(shape, old, open(old));
  const opened: OpenedChanges = { written: [], gone: [], places: [] };
  addChanges(opened, shape, changes);
  const located = changes.length > 0 ? await locateKeys(client, source, held.borders, columnsOfKeys(source, changes)) : [];
  opened.places.push(...chunksOf(located, held.borders.length));
  return opened;
}

function addChanges({ written, gone }: OpenedChanges, shape: RowShape, changes: readonly RowChange[]): void {
  for (const { key, after } of changes) {
    if (after) written.push(after);
    else gone.push(keyRow(shape, key));
  }
}

/** Changes of rows one by one, those of chunks in batches. */
async function* batchesOf(changes: ChangeSource, { index }: BorderedIndex): AsyncGenerator<ChunkChange[] | RowsChange, void> {
  let batch: ChunkChange[] = [];
  let bytes = 0;
  let place = 0;
  for await (const change of changes.changes()) {
    if ('keys' in change) {
      yield change;
      continue;
    }
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
async function readChanged({ client, name, source, held: { index, borders } }: Reading, batch: readonly ChunkChange[]): Promise<Buffer[]> {
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
 * The chunks whose key ranges have the rows of a change now. Where its last row is another one than that of its old chunks, it may lie behind them, in the
 * range of the chunk that follows; that of the last chunk has no end.
 */
function placesOf({ first, end }: ChunkChange, { borders }: BorderedIndex, endsAlike: boolean): number[] {
  return Array.from({ length: (endsAlike ? end : end + 1) - first }, (_, at) => Math.min(first + at, borders.length - 1));
}

/** Whether a load can be done with the tables' own chunks where the changes were of no use. */
export function isUnusableChange(error: unknown): error is WaypostError {
  const codes: readonly ErrorCode[] = ['MIRROR_DRIFTED', 'CHUNK_CORRUPT', 'VERIFICATION_FAILED'];
  return error instanceof WaypostError && codes.includes(error.code);
}

/** Changes did not lead to the manifest's table. Whether the rows beside them have drifted can be seen once all is rolled back. */
export class ChangesUnproven extends WaypostError {
  constructor(
    readonly table: ManifestTable,
    readonly staged: StagedChanges,
    { detail, hint }: WaypostError,
  ) {
    super('VERIFICATION_FAILED', { ...(detail !== undefined && { detail }), ...(hint !== undefined && { hint }) });
  }
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
