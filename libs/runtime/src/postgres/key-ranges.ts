import { type BorderKeys, BorderKeysBuilder, Chunker, type ChunkSink, keyFieldsOf } from '@waypost/contracts';
import type pg from 'pg';
import { HAS_ORDERED_INDEX, type KeyedSource, locateQuery, rangeQuery, READ_DOMAINS } from './key-ranges.sql.js';
import { collectRangeRows, type RangeStatement, type RangeTaker, readRangeRows } from './range-rows.js';

export type { KeyedSource } from './key-ranges.sql.js';

/** Consecutive chunks of a table, by their places: from `first` to before `end`. */
export interface ChunkRun {
  first: number;
  end: number;
}

/** A run, and the chunks that its key range has now. */
export interface CutRun<Chunk> extends ChunkRun {
  chunks: Chunk[];
}

/** Gives the rows that the key ranges of chunks have now, chunk by chunk. @param chunks places, ascending */
export type ReadRows = (chunks: readonly number[], taker: RangeTaker) => Promise<void>;

interface Cutting<Chunk> {
  source: KeyedSource;
  /** Of the table's chunks as they were; at least one. */
  borders: BorderKeys;
  /** How rows come; by default from the database, range by range. */
  readRows?: ReadRows | undefined;
  /** Takes each chunk, as of ChunkSink; what it returns is of the run. It may be called for chunks that are cut once more later. */
  onChunk: (...chunk: Parameters<ChunkSink>) => Chunk;
  /** As of readChunks. */
  afterInput?: (() => Promise<void> | undefined) | undefined;
  signal?: AbortSignal | undefined;
}

/** Why rows of a table cannot be told apart by the binary form of their keys; nothing where they can. */
export async function findKeyObstacle(client: pg.ClientBase, source: KeyedSource): Promise<string | undefined> {
  if (source.layout.format !== 'binary') return 'its rows have no binary form that is the same in every database';
  const array = source.keyColumns.find(({ type }) => type.endsWith('[]'));
  if (array) return `the key column ${array.name} is an array`;
  const { rows: domains } = await client.query<{ oid: string }>(READ_DOMAINS, [source.keyColumns.map(({ typeOid }) => typeOid)]);
  const ofDomain = source.keyColumns.find(({ typeOid }) => domains.some(({ oid }) => Number(oid) === typeOid));
  return ofDomain && `the key column ${ofDomain.name} is of a domain`;
}

/** Whether an index has the canonical order of a table's keys: only then are single ranges cheap to read. @param oid of the table in this database */
export async function hasOrderedIndex(client: pg.ClientBase, { layout, keyOrders }: KeyedSource, oid: string | number): Promise<boolean> {
  const orders = layout.key.map((name) => keyOrders.get(name) ?? 'type');
  if (orders.some((order) => order !== 'type' && order !== 'bytes')) return false;
  const byBytes = orders.map((order) => order === 'bytes');
  const { rows } = await client.query<{ hasIndex: boolean }>(HAS_ORDERED_INDEX, [oid, layout.key, byBytes]);
  return rows[0]?.hasIndex === true;
}

/**
 * Why single ranges of a table cannot be read, or not cheaply; nothing where they can.
 * @param oid of the table in this database
 */
export async function findRangeObstacle(client: pg.ClientBase, source: KeyedSource, oid: string | number): Promise<string | undefined> {
  const obstacle = await findKeyObstacle(client, source);
  if (obstacle !== undefined) return obstacle;
  return (await hasOrderedIndex(client, source, oid)) ? undefined : 'no index has the order of its key';
}

/** A key, and where it lies among border keys. */
export interface LocatedKey {
  /** In the form of BorderKeys. */
  key: Buffer;
  /** How many border keys are less than it, and how many are not more. */
  less: number;
  notMore: number;
}

/** Of many border keys, every so many is looked at first. */
const GROUP = 64;

/** The values of each key column, column by column: as text, or as PostgreSQL takes arrays in binary form. */
type KeyColumns = readonly (readonly string[] | Buffer)[];

/** Where keys lie, in their order. */
export async function locateKeys(client: pg.ClientBase, source: KeyedSource, borders: BorderKeys, keys: KeyColumns): Promise<LocatedKey[]> {
  const all = Array.from({ length: borders.length }, (_, at) => at);
  // Few keys, or keys that lie close together, lie in few groups.
  if (borders.length <= Math.max(2 * GROUP, countOf(keys))) return locateAmong(client, source, { borders, chunks: all }, keys);
  const lastOfGroups = all.filter((at) => at % GROUP === GROUP - 1);
  const inGroups = await locateAmong(client, source, { borders, chunks: lastOfGroups }, keys);
  const groups = [...new Set(inGroups.map(({ less }) => less))];
  const placeOf = new Map(groups.map((group, place) => [group, place]));
  // The borders of all other groups need not be sorted.
  const chunks = groups.flatMap((group) => all.slice(group * GROUP, (group + 1) * GROUP));
  const located = await locateAmong(client, source, { borders, chunks }, columnsOfKeys(source, inGroups));
  // The borders of groups before a key's own are all less than it, those that were left out, too.
  return located.map(({ key, less, notMore }, at) => {
    const group = inGroups[at]!.less;
    const leftOut = (group - (placeOf.get(group) as number)) * GROUP;
    return { key, less: less + leftOut, notMore: notMore + leftOut };
  });
}

function countOf([first]: KeyColumns): number {
  if (!Buffer.isBuffer(first)) return first?.length ?? 0;
  return first.readInt32BE(ARRAY_LENGTH_AT);
}

/** Columns of keys, in binary form. */
export function columnsOfKeys(source: KeyedSource, keys: readonly { key: Buffer }[]): Buffer[] {
  const builder = new BorderKeysBuilder(shapeOf(source).keyFields);
  for (const { key } of keys) builder.add(key);
  return arraysOf(
    source,
    builder.build(),
    keys.map((_, at) => at),
  );
}

/** Where keys lie among some of the border keys. @param chunks their places, ascending */
export async function locateAmong(
  client: pg.ClientBase,
  source: KeyedSource,
  { borders, chunks }: { borders: BorderKeys; chunks: readonly number[] },
  keys: KeyColumns,
): Promise<LocatedKey[]> {
  const isText = !Buffer.isBuffer(keys[0]);
  const arrays = keys.map((values) => (Buffer.isBuffer(values) ? values : arrayOf(TEXT_OID, values.map(textField))));
  const statement = { text: locateQuery(source, isText ? 'text' : 'typed'), values: [...arraysOf(source, borders, chunks), ...arrays] };
  const located: LocatedKey[] = [];
  const found = await collectRangeRows(client, statement, { maxBytes: Infinity, signal: undefined });
  for (const [less, rows] of found ?? []) {
    for (let at = 0; at < rows.length;) {
      // Number of fields, then the first of them: length and value.
      const notMore = rows.readInt32BE(at + 2 + 4);
      const start = at + 2 + 8;
      at = fieldsEnd(rows, start, source.keyColumns.length);
      located.push({ key: rows.subarray(start, at), less, notMore });
    }
  }
  return located;
}

const TEXT_OID = 25;

function textField(value: string): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.allocUnsafe(4);
  length.writeInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function fieldsEnd(bytes: Buffer, start: number, count: number): number {
  let at = start;
  for (let field = 0; field < count; field += 1) at += 4 + bytes.readInt32BE(at);
  return at;
}

/**
 * Finds the chunks that keys lie in, and those that end differently where a row with that key comes or goes: in order, each once.
 * @param chunks how many there are, at least one
 */
export function chunksOf(keys: readonly LocatedKey[], chunks: number): number[] {
  // The row that a chunk ends with is not more than its border, and not less: without it the chunk goes on.
  const places = keys.flatMap(({ less, notMore }) => (notMore > less ? [less, less + 1] : [less]));
  return [...new Set(places.map((at) => Math.min(at, chunks - 1)))];
}

/** Runs of chunks, in order. @param chunks places, ascending */
export function runsOf(chunks: readonly number[]): ChunkRun[] {
  const runs: ChunkRun[] = [];
  for (const at of chunks) {
    const last = runs.at(-1);
    if (last?.end === at) last.end += 1;
    else runs.push({ first: at, end: at + 1 });
  }
  return runs;
}

/**
 * Reads the key ranges of runs of chunks, as they are now, and cuts them. Guarantees: put in place of the runs' chunks, those that come out make the table's chunks
 * as if all of it were read, provided that no row outside of the runs has changed. A range whose last row is no border any more is read on until
 * both are in step again; so a run may come back longer, or as one with another.
 *
 * The client must be in a transaction with pinned session; an error closes it.
 */
export async function cutRuns<Chunk>(client: pg.ClientBase, runs: readonly ChunkRun[], cutting: Cutting<Chunk>): Promise<CutRun<Chunk>[]> {
  let done: CutRun<Chunk>[] = [];
  let due = [...runs];
  for (let growth = 1; due.length > 0; growth *= 2) {
    const read = await cutOnce(client, due, cutting);
    const open = read.filter(({ isInStep }) => !isInStep);
    done = [...done, ...read.filter(({ isInStep }) => isInStep)];
    due = [];
    for (const { first, end } of open) {
      const longer = { first, end: Math.min(end + growth, cutting.borders.length) };
      const met = done.filter((other) => other.first < longer.end && other.end > longer.first);
      done = done.filter((other) => !met.includes(other));
      due.push({ first, end: Math.max(longer.end, ...met.map((other) => other.end)) });
    }
    due = united(due);
  }
  return done.sort((one, other) => one.first - other.first);
}

/** Runs that overlap as one. */
function united(runs: readonly ChunkRun[]): ChunkRun[] {
  const result: ChunkRun[] = [];
  for (const run of [...runs].sort((one, other) => one.first - other.first)) {
    const last = result.at(-1);
    if (last && run.first < last.end) last.end = Math.max(last.end, run.end);
    else result.push({ ...run });
  }
  return result;
}

interface OpenRun<Chunk> extends CutRun<Chunk> {
  isInStep: boolean;
}

async function cutOnce<Chunk>(
  client: pg.ClientBase,
  runs: readonly ChunkRun[],
  { source, borders, readRows, onChunk, afterInput, signal }: Cutting<Chunk>,
): Promise<OpenRun<Chunk>[]> {
  const open = runs.map((run): OpenRun<Chunk> => ({ ...run, chunks: [], isInStep: true }));
  /** By the places of their chunks: rows read come under the first of a run, others under the chunk that they lie in. */
  const runOf = new Map(open.flatMap((run) => range(run).map((at) => [at, run] as const)));
  // Rows come run by run: one chunker, with its buffer, serves all of them.
  let current: OpenRun<Chunk> | undefined;
  const newChunker = (): Chunker =>
    new Chunker({ ...shapeOf(source), format: 'binary', isBare: true }, (...chunk) => void current?.chunks.push(onChunk(...chunk)));
  let chunker = newChunker();
  const enter = (run: OpenRun<Chunk> | undefined): void => {
    if (current) {
      current.isInStep = chunker.pendingRows === 0 || current.end === borders.length;
      if (current.isInStep) chunker.end();
      else chunker = newChunker();
    }
    current = run;
  };
  const onRows = (at: number, bytes: Buffer): void => {
    const run = runOf.get(at);
    if (run !== current) enter(run);
    chunker.push(bytes);
  };
  const taker = { onRows, afterInput };
  if (readRows) await readRows([...runOf.keys()], taker);
  else for (const statement of statementsOf(source, borders, runs)) await readRangeRows(client, statement, taker, signal);
  enter(undefined);
  await afterInput?.();
  return open;
}

/** How a source's rows are framed. */
export function shapeOf({ layout }: KeyedSource): { fieldCount: number; keyFields: number[] } {
  return { fieldCount: layout.columns.length, keyFields: keyFieldsOf(layout) };
}

function range({ first, end }: ChunkRun): number[] {
  return Array.from({ length: end - first }, (_, at) => first + at);
}

/** One range for each run, under the place of its first chunk, in order: what begins with the first chunk has no lower bound, what ends with the last one no upper bound. */
function statementsOf(source: KeyedSource, borders: BorderKeys, runs: readonly ChunkRun[]): RangeStatement[] {
  const hasLower = ({ first }: ChunkRun): boolean => first > 0;
  const hasUpper = ({ end }: ChunkRun): boolean => end < borders.length;
  const values = (chunk: number): Buffer[] => source.keyColumns.map((_, at) => borders.column(at, [chunk])[0]!.subarray(4));
  const one = (run: ChunkRun): RangeStatement => {
    const [lower, upper] = [hasLower(run), hasUpper(run)];
    const bounds = [...(lower ? values(run.first - 1) : []), ...(upper ? values(run.end - 1) : [])];
    return { text: rangeQuery(source, { ...(lower && { lower }), ...(upper && { upper }) }), values: [run.first, ...bounds] };
  };
  const isBetween = (run: ChunkRun): boolean => hasLower(run) && hasUpper(run);
  const [firsts, between] = [runs.filter((run) => !hasLower(run)), runs.filter(isBetween)];
  const lasts = runs.filter((run) => hasLower(run) && !hasUpper(run));
  return [...firsts.map(one), ...(between.length > 0 ? [manyOf(source, borders, between)] : []), ...lasts.map(one)];
}

function manyOf(source: KeyedSource, borders: BorderKeys, runs: readonly ChunkRun[]): RangeStatement {
  const [lower, upper] = [runs.map(({ first }) => first - 1), runs.map(({ end }) => end - 1)];
  const bounds = [...arraysOf(source, borders, lower), ...arraysOf(source, borders, upper)];
  return { text: rangeQuery(source, 'many'), values: [runs.map(({ first }) => first), ...bounds] };
}

/** Columns of border keys, as PostgreSQL takes arrays in binary form. */
function arraysOf({ keyColumns }: KeyedSource, borders: BorderKeys, chunks: readonly number[]): Buffer[] {
  return keyColumns.map(({ typeOid }, at) => arrayOf(typeOid, borders.column(at, chunks)));
}

const ARRAY_LENGTH_AT = 12;

/** Number of dimensions, whether there are NULLs, type, length, first subscript, elements, each with its length before it. */
function arrayOf(typeOid: number, elements: readonly Buffer[]): Buffer {
  const header = Buffer.alloc(20);
  header.writeInt32BE(1, 0);
  header.writeUInt32BE(typeOid, 8);
  header.writeInt32BE(elements.length, ARRAY_LENGTH_AT);
  header.writeInt32BE(1, 16);
  return Buffer.concat([header, ...elements]);
}
