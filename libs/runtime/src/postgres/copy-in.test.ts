import { Writable } from 'node:stream';
import type pg from 'pg';
import { copyIn } from './copy-in.js';

interface Query {
  submit(connection: unknown): void;
  handleCopyInResponse(): void;
  handleError(error: Error): void;
}

test('a refusal is heard of while the source never waits and the socket takes everything at once', async () => {
  const stream = new Writable({ write: (_chunk, _encoding, taken) => taken() });
  const refusal = new Error('refused');
  const client = {
    query: (query: Query) => {
      query.submit({ stream, query: () => undefined });
      query.handleCopyInResponse();
      setImmediate(() => query.handleError(refusal));
    },
  };
  let yielded = 0;
  async function* rows(): AsyncGenerator<Buffer> {
    for (; yielded < 10_000; yielded += 1) yield Buffer.alloc(8192);
  }
  await expect(copyIn(client as unknown as pg.ClientBase, 'COPY t FROM STDIN', rows())).rejects.toBe(refusal);
  expect(yielded).toBeLessThan(10_000);
});
