import { WaypostError } from '@waypost/contracts';
import { Turns, TurnsByKey } from './semaphore.js';

const busy = (): WaypostError => new WaypostError('CENTRAL_BUSY');
const patience = (ms = 60_000, signal = new AbortController().signal) => ({ until: performance.now() + ms, signal });

test('as many as there are places go ahead, the others in the order of their coming', async () => {
  const turns = new Turns(2, busy);
  const first = await turns.take(patience());
  await turns.take(patience());
  const order: string[] = [];
  const waiting = ['third', 'fourth'].map(async (name) => {
    const place = await turns.take(patience());
    order.push(name);
    place[Symbol.dispose]();
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(order).toEqual([]);
  first[Symbol.dispose]();
  await Promise.all(waiting);
  expect(order).toEqual(['third', 'fourth']);
});

test('a place that is given back twice is one place', async () => {
  const turns = new Turns(1, busy);
  const place = await turns.take(patience());
  place[Symbol.dispose]();
  place[Symbol.dispose]();
  await turns.take(patience());
  await expect(turns.take(patience(1))).rejects.toMatchObject({ code: 'CENTRAL_BUSY' });
});

test('who loses patience, or goes away, is not waited for', async () => {
  const turns = new Turns(1, busy);
  const place = await turns.take(patience());
  const gone = new AbortController();
  const leaves = turns.take(patience(60_000, gone.signal));
  const tires = turns.take(patience(1));
  const stays = turns.take(patience());
  gone.abort();
  await expect(leaves).rejects.toMatchObject({ name: 'AbortError' });
  await expect(tires).rejects.toMatchObject({ code: 'CENTRAL_BUSY' });
  place[Symbol.dispose]();
  (await stays)[Symbol.dispose]();
  expect(turns).toMatchObject({ inUse: 0, waiting: 0 });
});

test('one key waits only for itself, and leaves nothing behind', async () => {
  const turns = new TurnsByKey(busy);
  const a = await turns.take('a', patience());
  const b = await turns.take('b', patience());
  await expect(turns.take('a', patience(1))).rejects.toMatchObject({ code: 'CENTRAL_BUSY' });
  const next = turns.take('a', patience());
  for (const place of [a, b, await Promise.race([next, Promise.resolve(a)])]) place[Symbol.dispose]();
  (await next)[Symbol.dispose]();
  expect(turns.size).toBe(0);
});
