import { PassThrough } from 'node:stream';
import { withStallTimeout } from './with-stall-timeout.js';

const STALL_MS = 50;

async function collect(body: PassThrough, slowly?: () => Promise<void>): Promise<number> {
  let length = 0;
  for await (const part of withStallTimeout(body, { stallMs: STALL_MS, endsAtMs: Number.MAX_SAFE_INTEGER })) {
    length += part.length;
    await slowly?.();
  }
  return length;
}

test('a body that receives nothing is aborted', async () => {
  const body = new PassThrough();
  body.write('a');
  await expect(collect(body)).rejects.toMatchObject({ code: 'TRANSFER_STALLED' });
  expect(body.destroyed).toBe(true);
});

test('a body that arrives too slowly is aborted too', async () => {
  const body = new PassThrough();
  const trickle = setInterval(() => body.write('a'), 5);
  await expect(collect(body)).rejects.toMatchObject({ code: 'TRANSFER_STALLED' });
  clearInterval(trickle);
});

test('a slow consumer never looks like a stall', async () => {
  const body = new PassThrough();
  body.write(Buffer.alloc(10));
  setTimeout(() => body.end(Buffer.alloc(10)), STALL_MS * 3);
  expect(await collect(body, () => new Promise((resolve) => setTimeout(resolve, STALL_MS * 4)))).toBe(20);
});

test('a connection that breaks is reported as central being out of reach', async () => {
  const body = new PassThrough();
  body.write('a');
  setImmediate(() => body.destroy(new Error('other side closed')));
  await expect(collect(body)).rejects.toMatchObject({ code: 'CENTRAL_UNREACHABLE', heals: 'retry' });
});

test('a body that arrives fast enough, but without end, is aborted at its deadline', async () => {
  const body = new PassThrough();
  const drip = setInterval(() => body.write(Buffer.alloc(8192)), 1);
  const read = async (): Promise<void> => {
    for await (const part of withStallTimeout(body, { stallMs: 10_000, endsAtMs: performance.now() + STALL_MS }))
      expect(part.length).toBeGreaterThan(0);
  };
  await expect(read()).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
  clearInterval(drip);
  expect(body.destroyed).toBe(true);
});
