import type { Socket } from 'node:net';
import type pg from 'pg';
import { releaseMemory } from '../system/release-memory.js';

/** Takes COPY data, split anywhere. The bytes are valid until it returns or its promise settles; PostgreSQL waits until then. */
export type CopyTaker = (bytes: Buffer) => Promise<void> | undefined;

/** Message types of PostgreSQL's protocol 3.0. */
const Message = { copyData: 0x64, copyOutResponse: 0x48, noticeResponse: 0x4e, parameterStatus: 0x53, notification: 0x41 } as const;
const INTERSPERSED: readonly number[] = [Message.noticeResponse, Message.parameterStatus, Message.notification];
const HEADER_BYTES = 5;

interface Connection {
  stream: Socket;
  query(text: string): void;
}

type DataListener = (bytes: Buffer) => void;

/**
 * Runs a COPY … TO STDOUT. PostgreSQL sends a message per row; here the rows of one network buffer are moved together in place and handed over
 * at once, and the buffer's memory is given back. With pg-copy-streams (a Buffer per row, one more to put them together, a stream that
 * pauses after each) 1,000,000 rows took 2.0 s from COPY to compressed chunks, this way 1.4 s.
 *
 * An error of `take`, or an abort, ends the connection: nothing would read the remaining rows.
 */
export async function copyOut(client: pg.ClientBase, statement: string, take: CopyTaker, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const query = new CopyOutQuery(statement, take);
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

class CopyOutQuery {
  /** Settles with ReadyForQuery, or with the first error. */
  readonly done: Promise<void>;
  /** Rows were still to come when it ended. */
  isUnfinished = true;
  private resolve!: () => void;
  private reject!: (error: unknown) => void;
  private stream!: Socket;
  /** pg's own listener, which gets everything that is not COPY data. */
  private pgListener!: DataListener;
  private readonly listener: DataListener = (bytes) => this.receive(bytes);
  /** The header of the current message, as far as it has arrived. */
  private readonly header = Buffer.alloc(HEADER_BYTES);
  private headerBytes = 0;
  private type = 0;
  /** Bytes of the current message that have not arrived yet. */
  private missingBytes = 0;

  constructor(
    private readonly text: string,
    private readonly take: CopyTaker,
  ) {
    ({ promise: this.done, resolve: this.resolve, reject: this.reject } = Promise.withResolvers<void>());
    this.done.catch(() => undefined);
  }

  /** Called by pg when the connection is free; from here on only this query's answers arrive. */
  submit(connection: Connection): void {
    this.stream = connection.stream;
    const [pgListener, ...others] = this.stream.listeners('data') as DataListener[];
    if (!pgListener || others.length > 0) return this.abort(new Error('pg listens to its socket in another way than expected'));
    this.pgListener = pgListener;
    this.stream.off('data', pgListener).on('data', this.listener);
    connection.query(this.text);
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
    const { end, handedBack } = this.compact(bytes);
    const taken = end > 0 ? this.hand(bytes.subarray(0, end)) : undefined;
    if (handedBack) {
      if (taken) void this.whenTaken(taken, () => this.handBack(handedBack));
      else this.handBack(handedBack);
    } else if (taken) {
      void this.whenTaken(taken, () => releaseMemory(bytes));
    } else {
      releaseMemory(bytes);
    }
  }

  private handBack(bytes: Buffer): void {
    this.isUnfinished = false;
    this.stream.off('data', this.listener).on('data', this.pgListener);
    this.pgListener(bytes);
  }

  private hand(bytes: Buffer): Promise<void> | undefined {
    try {
      return this.take(bytes);
    } catch (error) {
      this.abort(error);
      return undefined;
    }
  }

  private async whenTaken(taken: Promise<void>, then: () => void): Promise<void> {
    this.stream.pause();
    try {
      await taken;
      then();
      this.stream.resume();
    } catch (error) {
      this.abort(error);
    }
  }

  /**
   * Moves the COPY data of all messages to the front of the buffer.
   * @returns where the data ends, and the bytes that pg reads from here on, once a message other than COPY data arrives
   */
  private compact(bytes: Buffer): { end: number; handedBack?: Buffer } {
    let at = 0;
    let end = 0;
    while (at < bytes.length) {
      if (this.missingBytes === 0) {
        at = this.readHeader(bytes, at);
        if (this.headerBytes > 0) break;
        if (this.type !== Message.copyData && this.type !== Message.copyOutResponse && !INTERSPERSED.includes(this.type)) {
          return { end, handedBack: Buffer.concat([this.header, bytes.subarray(at)]) };
        }
      }
      const length = Math.min(this.missingBytes, bytes.length - at);
      if (this.type === Message.copyData) {
        bytes.copyWithin(end, at, at + length);
        end += length;
      }
      at += length;
      this.missingBytes -= length;
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
