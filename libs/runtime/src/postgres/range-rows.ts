import type pg from 'pg';
import { type Connection, Message, RowMessages, runRowMessages } from './row-messages.js';

/** A statement whose first column says, as an int4, which range a row is of. */
export interface RangeStatement {
  text: string;
  /** Buffers are sent in PostgreSQL's binary form. */
  values: RangeValue[];
}

type RangeValue = Buffer | number | readonly number[];

export interface RangeTaker {
  /** Rows as binary COPY writes them, without the first column, whole or in part; all of a range come one after another. Valid during the call. */
  onRows: (range: number, bytes: Buffer) => void;
  /** Awaited after each piece of input; PostgreSQL waits for it. */
  afterInput?: (() => Promise<void> | undefined) | undefined;
}

/** What stands before a row's own fields: number of fields, length of the first one, its value. */
const PREFIX_BYTES = 2 + 4 + 4;
const COUNT_BYTES = 2;

/**
 * Runs a query whose rows come in PostgreSQL's binary form: field by field the bytes that binary COPY writes, and unlike COPY it takes parameters.
 * An error of what takes the rows, or an abort, ends the connection.
 * @throws Error where rows of an earlier range follow those of a later one
 */
export async function readRangeRows(
  client: pg.ClientBase,
  statement: RangeStatement,
  taker: RangeTaker,
  signal?: AbortSignal,
): Promise<void> {
  await runRowMessages(client, new RangeRows(statement, taker), signal);
}

/**
 * As readRangeRows: the rows of each range that has some, in one piece.
 * @returns undefined where they are longer than `maxBytes` together: memory holds no more
 */
export async function collectRangeRows(
  client: pg.ClientBase,
  statement: RangeStatement,
  { maxBytes, signal }: { maxBytes: number; signal: AbortSignal | undefined },
): Promise<Map<number, Buffer> | undefined> {
  const pieces = new Map<number, Buffer[]>();
  let total = 0;
  const onRows = (range: number, bytes: Buffer): void => {
    total += bytes.length;
    if (total > maxBytes) return pieces.clear();
    const copy = Buffer.from(bytes);
    const before = pieces.get(range);
    if (before) before.push(copy);
    else pieces.set(range, [copy]);
  };
  await readRangeRows(client, statement, { onRows }, signal);
  if (total > maxBytes) return undefined;
  return new Map([...pieces].map(([range, rows]) => [range, rows.length === 1 ? (rows[0] as Buffer) : Buffer.concat(rows)]));
}

class RangeRows extends RowMessages {
  /** Of the current row, as far as it has arrived; whole once it has PREFIX_BYTES. */
  private readonly prefix = Buffer.alloc(PREFIX_BYTES);
  private prefixBytes = 0;
  private range = -1;
  /** Where the rows of `range` begin in the current buffer. */
  private rangeStart = 0;

  constructor(
    private readonly statement: RangeStatement,
    private readonly taker: RangeTaker,
  ) {
    super(Message.dataRow, [Message.parseComplete, Message.bindComplete]);
  }

  protected send(connection: Connection): void {
    const unnamed = { name: '', portal: '', statement: '' };
    connection.parse({ ...unnamed, text: this.statement.text, types: [] });
    connection.bind({ ...unnamed, values: this.statement.values, binary: true, valueMapper });
    connection.execute({ ...unnamed, rows: 0 });
    connection.sync();
  }

  protected takeRow(bytes: Buffer, from: number, length: number, to: number): number {
    const at = this.prefixBytes < PREFIX_BYTES ? this.takePrefix(bytes, from, length, to) : { from, to };
    const rest = from + length - at.from;
    bytes.copyWithin(at.to, at.from, at.from + rest);
    // The message's next part, or the next message, follows.
    if (this.missingBytes === 0) this.prefixBytes = 0;
    return at.to + rest;
  }

  protected takeBuffer(bytes: Buffer, end: number): Promise<void> | undefined {
    this.hand(bytes, end);
    this.rangeStart = 0;
    return this.taker.afterInput?.();
  }

  /** Puts the number of fields in the place of the prefix. @returns where the row's fields begin, and where they are to be */
  private takePrefix(bytes: Buffer, from: number, length: number, to: number): { from: number; to: number } {
    const taken = bytes.copy(this.prefix, this.prefixBytes, from, from + Math.min(length, PREFIX_BYTES - this.prefixBytes));
    this.prefixBytes += taken;
    if (this.prefixBytes < PREFIX_BYTES) return { from: from + taken, to };
    this.enter(this.prefix.readInt32BE(PREFIX_BYTES - 4), bytes, to);
    const count = this.prefix.subarray(0, COUNT_BYTES);
    count.writeUInt16BE(count.readUInt16BE() - 1);
    if (from + taken - to >= COUNT_BYTES) {
      count.copy(bytes, to);
      return { from: from + taken, to: to + COUNT_BYTES };
    }
    // The prefix began in the buffer before this one: there is no room for the count.
    this.hand(bytes, to);
    this.taker.onRows(this.range, count);
    this.rangeStart = to;
    return { from: from + taken, to };
  }

  private enter(range: number, bytes: Buffer, end: number): void {
    if (range === this.range) return;
    if (range < this.range) throw new Error(`Rows of range ${range} follow rows of range ${this.range}.`);
    this.hand(bytes, end);
    this.range = range;
  }

  private hand(bytes: Buffer, end: number): void {
    if (end > this.rangeStart) this.taker.onRows(this.range, bytes.subarray(this.rangeStart, end));
    this.rangeStart = end;
  }
}

function valueMapper(value: RangeValue): Buffer | string {
  if (Buffer.isBuffer(value)) return value;
  return typeof value === 'number' ? String(value) : `{${value.join(',')}}`;
}
