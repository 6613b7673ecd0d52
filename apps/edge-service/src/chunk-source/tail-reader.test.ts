import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChunkIndexBuilder, sha256, WaypostError } from '@waypost/contracts';
import { compress } from '@waypost/runtime';
import type { ChunkSource } from './chunk-source.js';
import { copyDataOf } from '../load/copy-data.js';
import { TailReader } from './tail-reader.js';
import { SpooledTable } from '../download/spooled-table.js';
import { StreamReceiver } from '../download/stream-receiver.js';

const CHUNKS = Array.from({ length: 5 }, (_, chunk) => Buffer.from(`${chunk}\tvalue ${chunk}\n`.repeat(50)));
const FRAMES = CHUNKS.map(compress);
const INDEX = (() => {
  const builder = new ChunkIndexBuilder('text');
  for (const [at, chunk] of CHUNKS.entries())
    builder.add({ digest: sha256(chunk), rowCount: 50, rawBytes: chunk.length, frameBytes: FRAMES[at]!.length });
  return builder.build();
})();
const { rowCount, rawBytes, frameBytes, sha256: hash } = INDEX.totals();
const HEAD = INDEX.encode();
const PROMISE = { name: 't', format: 'text' as const, rowCount, rawBytes, sha256: hash, streamBytes: HEAD.length + frameBytes };

let folder: string;
let spooled: SpooledTable;
let receiver: StreamReceiver;
let arrival: PromiseWithResolvers<void>;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waypost-followed-'));
  spooled = await SpooledTable.open(join(folder, 'stream.part'), PROMISE);
  await spooled.restart('"one"');
  receiver = new StreamReceiver(spooled);
  arrival = Promise.withResolvers();
  arrival.promise.catch(() => undefined);
});
afterEach(async () => {
  await spooled.close();
  await rm(folder, { recursive: true, force: true });
});

/** Makes these bytes visible to readers at once, as a broken connection does. */
async function arrive(...parts: Buffer[]): Promise<void> {
  for (const part of parts) await receiver.push(part);
  await receiver.settle();
  receiver = new StreamReceiver(spooled);
}

function reader(source: ChunkSource): { next: () => Promise<string>; rest: () => Promise<string> } {
  const data = copyDataOf(source, 'text');
  const next = async (): Promise<string> => String((await data.next()).value);
  const rest = async (): Promise<string> => {
    let text = '';
    for await (const bytes of data) text += String(bytes);
    return text;
  };
  return { next, rest };
}

test('chunks are read as they come, and the end is the stream’s end', async () => {
  const { next, rest } = reader(new TailReader(arrival.promise).read(spooled));
  const first = next();
  await arrive(HEAD, FRAMES[0]!, FRAMES[1]!);
  expect(await first).toBe(String(CHUNKS[0]));
  expect(await next()).toBe(String(CHUNKS[1]));
  const third = next();
  await arrive(...FRAMES.slice(2));
  arrival.resolve();
  expect(await third).toBe(String(CHUNKS[2]));
  expect(await rest()).toBe(String(Buffer.concat(CHUNKS.slice(3))));
});

test('what the download fails with is what the reader gets', async () => {
  const tail = new TailReader(arrival.promise);
  const { next } = reader(tail.read(spooled));
  await arrive(HEAD, FRAMES[0]!);
  await next();
  const second = next();
  arrival.reject(new WaypostError('CENTRAL_UNREACHABLE', { detail: 'gone' }));
  await expect(second).rejects.toThrow('gone');
  expect(tail.timedOut).toBe(false);
});

test('waiting ends at the deadline, whichever table is waited for', async () => {
  const tail = new TailReader(arrival.promise, 50);
  await arrive(HEAD, FRAMES[0]!);
  const { next, rest } = reader(tail.read(spooled));
  await next();
  await expect(rest()).rejects.toMatchObject({ code: 'TRANSFER_STALLED' });
  expect(tail.timedOut).toBe(true);
  await expect(reader(tail.read(spooled)).rest()).rejects.toMatchObject({ code: 'TRANSFER_STALLED' });
});

test('a stream that begins again before anything was read is simply read', async () => {
  const { rest } = reader(new TailReader(arrival.promise).read(spooled));
  const all = rest();
  await spooled.restart('"two"');
  receiver = new StreamReceiver(spooled);
  await arrive(HEAD, ...FRAMES);
  expect(await all).toBe(String(Buffer.concat(CHUNKS)));
});

test('a stream that begins again in the middle has to be loaded again', async () => {
  const tail = new TailReader(arrival.promise);
  await arrive(HEAD, FRAMES[0]!);
  const { next, rest } = reader(tail.read(spooled));
  await next();
  const others = expect(rest()).rejects.toBeInstanceOf(WaypostError);
  await spooled.restart('"two"');
  await others;
  expect(tail.timedOut).toBe(true);
});
