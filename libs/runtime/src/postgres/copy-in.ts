import type { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type pg from 'pg';
import { releaseMemory } from '../system/release-memory.js';
import { ZSTD_SLACK_BYTES } from '../system/zstd.js';

interface Connection {
  stream: Socket;
  query(text: string): void;
  sendCopyFail(message: string): void;
}

const COPY_DATA = 0x64;
/** A source that never waits, and a socket that takes everything at once, would keep PostgreSQL's refusal from being read. */
const BYTES_PER_TURN = 1 << 20;
const COPY_DONE = Buffer.from([0x63, 0, 0, 0, 4]);

/**
 * Runs a COPY … FROM STDIN with the buffers of `source`. Each buffer is sent as it is and its memory released afterwards: `source` must not
 * use it again. When `source` throws, the COPY fails and the connection stays usable.
 * @returns the number of rows that PostgreSQL reports
 */
export async function copyIn(client: pg.ClientBase, statement: string, source: AsyncIterable<Buffer>): Promise<number> {
  const query = new CopyInQuery(statement, source);
  client.query(query as unknown as pg.Submittable);
  await query.done;
  return query.rowCount;
}

class CopyInQuery {
  readonly done: Promise<void>;
  rowCount = 0;
  private resolve!: () => void;
  private reject!: (error: unknown) => void;
  private failed = false;
  private sourceError: unknown;
  private connection!: Connection;
  private wake: (() => void) | undefined;

  constructor(
    private readonly text: string,
    private readonly source: AsyncIterable<Buffer>,
  ) {
    ({ promise: this.done, resolve: this.resolve, reject: this.reject } = Promise.withResolvers<void>());
    this.done.catch(() => undefined);
  }

  submit(connection: Connection): void {
    this.connection = connection;
    connection.query(this.text);
  }

  handleCopyInResponse(): void {
    void this.send();
  }

  handleError(error: Error): void {
    this.failed = true;
    this.wake?.();
    this.reject(this.sourceError ?? error);
  }

  handleCommandComplete({ text }: { text: string }): void {
    this.rowCount = Number(/^COPY (\d+)$/.exec(text)?.[1] ?? 0);
  }

  handleReadyForQuery(): void {
    this.resolve();
  }

  private async send(): Promise<void> {
    const { stream } = this.connection;
    let sent = 0;
    try {
      for await (const bytes of this.source) {
        if (this.failed || !stream.writable) return;
        sent += bytes.length;
        if (!this.write(stream, bytes)) await this.drained(stream);
        if (sent < BYTES_PER_TURN) continue;
        sent = 0;
        await nextTurn();
      }
    } catch (error) {
      this.sourceError = error;
      if (!this.failed) this.connection.sendCopyFail(error instanceof Error ? error.message : String(error));
      return;
    }
    if (!this.failed) stream.write(COPY_DONE);
  }

  private write(stream: Socket, bytes: Buffer): boolean {
    const header = Buffer.allocUnsafe(5);
    header[0] = COPY_DATA;
    header.writeUInt32BE(bytes.length + 4, 1);
    stream.cork();
    stream.write(header);
    const ok = stream.write(bytes, () => releaseMemory(bytes, ZSTD_SLACK_BYTES));
    stream.uncork();
    return ok;
  }

  /** Resolves when the socket takes more, or the COPY has failed. */
  private async drained(stream: Socket): Promise<void> {
    if (this.failed || !stream.writableNeedDrain) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.wake = resolve;
    stream.once('drain', resolve).once('close', resolve);
    await promise;
    stream.off('drain', resolve).off('close', resolve);
    this.wake = undefined;
  }
}
