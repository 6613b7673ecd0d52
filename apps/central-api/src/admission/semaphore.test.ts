import { WaypostError } from '@waypost/contracts';
import { Semaphore, KeyedMutex } from './semaphore.js';

const busy = (): WaypostError => new WaypostError('CENTRAL_BUSY');
const within = (ms = 60_000, signal = new AbortController().signal) => ({ until: performance.now() + ms, signal });

test('as many as there are permits go ahead, the others in the order of their arrival', async () => {
  const semaphore = new Semaphore(2, busy);
  const first = await semaphore.take(within());
  await semaphore.take(within());
  const order: string[] = [];
  const waiting = ['third', 'fourth'].map(async (name) => {
    const permit = await semaphore.take(within());
    order.push(name);
    permit[Symbol.dispose]();
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(order).toEqual([]);
  first[Symbol.dispose]();
  await Promise.all(waiting);
  expect(order).toEqual(['third', 'fourth']);
});

test('a permit that is released twice is one permit', async () => {
  const semaphore = new Semaphore(1, busy);
  const permit = await semaphore.take(within());
  permit[Symbol.dispose]();
  permit[Symbol.dispose]();
  await semaphore.take(within());
  await expect(semaphore.take(within(1))).rejects.toMatchObject({ code: 'CENTRAL_BUSY' });
});

test('a waiter whose deadline passes, or whose client disconnects, leaves the queue', async () => {
  const semaphore = new Semaphore(1, busy);
  const permit = await semaphore.take(within());
  const gone = new AbortController();
  const leaves = semaphore.take(within(60_000, gone.signal));
  const tires = semaphore.take(within(1));
  const stays = semaphore.take(within());
  gone.abort();
  await expect(leaves).rejects.toMatchObject({ name: 'AbortError' });
  await expect(tires).rejects.toMatchObject({ code: 'CENTRAL_BUSY' });
  permit[Symbol.dispose]();
  (await stays)[Symbol.dispose]();
  expect(semaphore).toMatchObject({ inUse: 0, waiting: 0 });
});

test('one key waits only for itself, and leaves nothing behind', async () => {
  const semaphore = new KeyedMutex(busy);
  const a = await semaphore.take('a', within());
  const b = await semaphore.take('b', within());
  await expect(semaphore.take('a', within(1))).rejects.toMatchObject({ code: 'CENTRAL_BUSY' });
  const next = semaphore.take('a', within());
  for (const permit of [a, b, await Promise.race([next, Promise.resolve(a)])]) permit[Symbol.dispose]();
  (await next)[Symbol.dispose]();
  expect(semaphore.size).toBe(0);
});
