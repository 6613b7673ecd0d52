import type { Readable } from 'node:stream';
import { Chunker, type ChunkSink, keyFieldsOf, type ManifestColumn, quoteIdentifier, type RowFormat } from '@waypost/contracts';
import type pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import type { CatalogColumn } from './catalog.js';
import { copyOut } from './copy-out.js';
import type { KeyOrder } from './type-catalog.js';

/** What determines a table's canonical rows, besides the rows themselves. */
export interface RowLayout {
  format: RowFormat;
  columns: readonly Pick<ManifestColumn, 'name'>[];
  /** Names of the key's columns, in key order. */
  key: readonly string[];
}

/** By column name. */
export type KeyOrders = ReadonlyMap<string, KeyOrder>;

export interface RowSource {
  layout: RowLayout;
  /** Quoted, ready for SQL. */
  table: string;
  /** For the key's columns, at least. */
  keyOrders: KeyOrders;
  /** A boolean SQL expression; all rows without it. */
  where?: string | undefined;
}

/** The query whose COPY output is the canonical form of a table, or of a device's share of it. */
export function canonicalQuery({ layout, table, keyOrders, where }: RowSource): string {
  const columns = layout.columns.map(({ name }) => quoteIdentifier(name)).join(', ');
  const order = orderOfKey(layout.key, keyOrders, quoteIdentifier).join(', ');
  // The line break keeps a comment at the end of the plan's expression from swallowing the rest.
  const filter = where === undefined ? '' : ` WHERE (${where}\n)`;
  return `SELECT ${columns} FROM ${table}${filter} ORDER BY ${order}`;
}

export function keyOrdersOf(columns: readonly Pick<CatalogColumn, 'name' | 'keyOrder'>[]): KeyOrders {
  return new Map(columns.map(({ name, keyOrder }) => [name, keyOrder]));
}

/** What orders a key, column by column. @param valueOf SQL of the column's value */
export function orderOfKey(key: readonly string[], orders: KeyOrders, valueOf: (name: string) => string): string[] {
  return key.map((name) => orderExpression(valueOf(name), orders.get(name)));
}

function orderExpression(value: string, order: KeyOrder = 'type'): string {
  switch (order) {
    case 'type':
      return value;
    case 'bytes':
      return `${value} COLLATE pg_catalog."C"`;
    case 'text':
      return `CAST(${value} AS pg_catalog.text) COLLATE pg_catalog."C"`;
    case 'bytesAsUtf8':
    case 'textAsUtf8':
      return asUtf8(value);
    case 'elementsAsUtf8':
      return `ARRAY(SELECT ${asUtf8('element')} FROM pg_catalog.unnest(${value}) AS element)`;
  }
}

function asUtf8(value: string): string {
  return `pg_catalog.convert_to(CAST(${value} AS pg_catalog.text), 'UTF8')`;
}

function copyOutStatement(query: string, format: RowFormat): string {
  return `COPY (${query}) TO STDOUT (FORMAT ${format})`;
}

/**
 * Starts a COPY … TO STDOUT as a stream. Destroying the stream early ends the connection: nothing would read the remaining rows, and
 * statements queued behind them, such as a ROLLBACK, would wait for ever.
 */
export function openCopyOut(client: pg.ClientBase, query: string, format: RowFormat): Readable {
  const rows = client.query(copyTo(copyOutStatement(query, format)));
  rows.once('close', () => {
    if (!rows.readableEnded) void (client as pg.Client).end();
  });
  // The end of the connection emits one more error, after the caller has stopped listening.
  rows.on('error', () => undefined);
  return rows;
}

interface ChunkReader {
  query: string;
  layout: RowLayout;
  /** Called for each chunk; the bytes are valid only during the call. */
  onChunk: ChunkSink;
  /** Awaited after each piece of input: process there what onChunk kept. PostgreSQL waits for it (backpressure). */
  afterInput?: () => Promise<void> | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Reads a query's rows in chunks. Memory holds one chunk and one network buffer, for a table of any size.
 * The client must be in a transaction with pinned session; an error closes it.
 */
export async function readChunks(client: pg.ClientBase, { query, layout, onChunk, afterInput, signal }: ChunkReader): Promise<void> {
  const shape = { format: layout.format, fieldCount: layout.columns.length, keyFields: keyFieldsOf(layout) };
  const chunker = new Chunker(shape, onChunk);
  const take = (input: Buffer): Promise<void> | undefined => {
    chunker.push(input);
    return afterInput?.();
  };
  await copyOut(client, copyOutStatement(query, layout.format), take, signal);
  chunker.end();
  await afterInput?.();
}
