import type pg from 'pg';
import { type Connection, Message, RowMessages, runRowMessages } from './row-messages.js';

/** Takes COPY data, split anywhere. The bytes are valid until it returns or its promise settles; PostgreSQL waits until then. */
export type CopyTaker = (bytes: Buffer) => Promise<void> | undefined;

/**
 * Runs a COPY … TO STDOUT. With pg-copy-streams (a Buffer per row, one more to put them together, a stream that pauses after each) 1,000,000 rows took 2.0 s
 * from COPY to compressed chunks, this way 1.4 s.
 *
 * An error of `take`, or an abort, ends the connection: nothing would read the remaining rows.
 */
export async function copyOut(client: pg.ClientBase, statement: string, take: CopyTaker, signal?: AbortSignal): Promise<void> {
  await runRowMessages(client, new CopyOut(statement, take), signal);
}

class CopyOut extends RowMessages {
  constructor(
    private readonly text: string,
    private readonly taker: CopyTaker,
  ) {
    super(Message.copyData, [Message.copyOutResponse]);
  }

  protected send(connection: Connection): void {
    connection.query(this.text);
  }

  protected takeRow(bytes: Buffer, from: number, length: number, to: number): number {
    bytes.copyWithin(to, from, from + length);
    return to + length;
  }

  protected takeBuffer(bytes: Buffer, end: number): Promise<void> | undefined {
    return end > 0 ? this.taker(bytes.subarray(0, end)) : undefined;
  }
}
