import type { Socket } from 'node:net';
import type pg from 'pg';
import { releaseMemory } from '../system/release-memory.js';

/** Message types of PostgreSQL's protocol 3.0. */
export const Message = {
  bindComplete: 0x32,
  copyData: 0x64,
  copyOutResponse: 0x48,
  dataRow: 0x44,
  noticeResponse: 0x4e,
  notification: 0x41,
  parameterStatus: 0x53,
  parseComplete: 0x31,
} as const;
const INTERSPERSED: readonly number[] = [Message.noticeResponse, Message.parameterStatus, Message.notification];
const HEADER_BYTES = 5;

/** What is used of pg's connection. */
export interface Connection {
  stream: Socket;
  query(text: string): void;
  parse(statement: { name: string; text: string; types: number[] }): void;
  bind(portal: { portal: string; statement: string; values: unknown[]; binary: boolean; valueMapper: (value: never) => unknown }): void;
  execute(portal: { portal: string; rows: number }): void;
  sync(): void;
}

type DataListener = (bytes: Buffer) => void;

/** What becomes of the bytes of one network buffer. */
interface Taken {
  /** PostgreSQL waits for it. */
  done?: Promise<void> | undefined;
  /** What pg reads from here on: the first message after the rows. */
  handedBack?: Buffer;
}

/**
 * A statement whose rows are taken from the network as they are, in place of pg's own reading of them. PostgreSQL sends a message per row; here the rows of
 * one network buffer are moved together in place and handed over at once, and the buffer's memory is given back.
 */
export abstract class RowMessages {
  /** Settles with ReadyForQuery, or with the first error. */
  readonly done: Promise<void>;
  /** Rows were still to come when it ended. */
  isUnfinished = true;
  private resolve!: () => void;
  private reject!: (error: unknown) => void;
  private stream!: Socket;
  /** pg's own listener, which gets everything that is not a row. */
  private pgListener!: DataListener;
  private readonly listener: DataListener = (bytes) => this.receive(bytes);
  /** The header of the current message, as far as it has arrived. */
  private readonly header = Buffer.alloc(HEADER_BYTES);
  private headerBytes = 0;
  /** Of the current message. */
  protected type = 0;
  /** Bytes of the current message that have not arrived yet. */
  protected missingBytes = 0;

  /** @param skipped types of messages, besides rows, that come before the end of the rows */
  protected constructor(
    private readonly row: number,
    private readonly skipped: readonly number[],
  ) {
    ({ promise: this.done, resolve: this.resolve, reject: this.reject } = Promise.withResolvers<void>());
    this.done.catch(() => undefined);
  }

  /** Sends the statement. */
  protected abstract send(connection: Connection): void;

  /**
   * Takes a part of a row's message.
   * @param to where rows end in the buffer so far: this part may be moved there
   * @returns where rows end now
   */
  protected abstract takeRow(bytes: Buffer, from: number, length: number, to: number): number;

  /** All of a buffer is taken; its rows end there. */
  protected abstract takeBuffer(bytes: Buffer, end: number): Promise<void> | undefined;

  /** Called by pg when the connection is free; from here on only this query's answers arrive. */
  submit(connection: Connection): void {
    this.stream = connection.stream;
    const [pgListener, ...others] = this.stream.listeners('data') as DataListener[];
    if (!pgListener || others.length > 0) return this.abort(new Error('pg listens to its socket in another way than expected'));
    this.pgListener = pgListener;
    this.stream.off('data', pgListener).on('data', this.listener);
    this.send(connection);
  }

  handleError(error: Error): void {
    this.reject(error);
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.resolve();
  }

  abort(reason: unknown): void {
    this.reject(reason);
    this.stream?.off('data', this.listener);
  }

  private receive(bytes: Buffer): void {
    const { done, handedBack } = this.take(bytes);
    if (handedBack) {
      if (done) void this.whenTaken(done, () => this.handBack(handedBack));
      else this.handBack(handedBack);
    } else if (done) {
      void this.whenTaken(done, () => releaseMemory(bytes));
    } else {
      releaseMemory(bytes);
    }
  }

  private handBack(bytes: Buffer): void {
    this.isUnfinished = false;
    this.stream.off('data', this.listener).on('data', this.pgListener);
    this.pgListener(bytes);
  }

  private async whenTaken(done: Promise<void>, then: () => void): Promise<void> {
    this.stream.pause();
    try {
      await done;
      then();
      this.stream.resume();
    } catch (error) {
      this.abort(error);
    }
  }

  private take(bytes: Buffer): Taken {
    try {
      const { end, handedBack } = this.compact(bytes);
      const done = this.takeBuffer(bytes, end);
      return handedBack ? { done, handedBack } : { done };
    } catch (error) {
      this.abort(error);
      return {};
    }
  }

  /** Moves the rows of all messages to the front of the buffer. */
  private compact(bytes: Buffer): { end: number; handedBack?: Buffer } {
    let at = 0;
    let end = 0;
    while (at < bytes.length) {
      if (this.missingBytes === 0) {
        at = this.readHeader(bytes, at);
        if (this.headerBytes > 0) break;
        if (this.type !== this.row && !this.skipped.includes(this.type) && !INTERSPERSED.includes(this.type)) {
          return { end, handedBack: Buffer.concat([this.header, bytes.subarray(at)]) };
        }
      }
      const length = Math.min(this.missingBytes, bytes.length - at);
      this.missingBytes -= length;
      if (this.type === this.row) end = this.takeRow(bytes, at, length, end);
      at += length;
    }
    return { end };
  }

  /** Sets type and missingBytes once the header is whole; headerBytes is 0 then. */
  private readHeader(bytes: Buffer, from: number): number {
    const { header } = this;
    let at = from;
    while (this.headerBytes < HEADER_BYTES && at < bytes.length) header[this.headerBytes++] = bytes[at++] as number;
    if (this.headerBytes < HEADER_BYTES) return at;
    this.headerBytes = 0;
    this.type = header[0] as number;
    this.missingBytes = header.readUInt32BE(1) - 4;
    return at;
  }
}

/**
 * Runs a statement to its end. An error of what takes its rows, or an abort, ends the connection: nothing would read the remaining rows.
 */
export async function runRowMessages(client: pg.ClientBase, query: RowMessages, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const abort = (): void => query.abort(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    client.query(query as unknown as pg.Submittable);
    await query.done;
  } catch (error) {
    if (query.isUnfinished) void (client as pg.Client).end().catch(() => undefined);
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}
