import { TtlCache } from './ttl-cache.js';

const LONG = { ttlMs: 60_000, timeoutMs: 60_000 };

test('concurrent callers share one computation, and its value is kept', async () => {
  let runs = 0;
  const cache = new TtlCache(async () => ++runs, LONG);
  expect(await Promise.all([cache.get(), cache.get()])).toEqual([1, 1]);
  expect(await cache.get()).toBe(1);
});

test('is computed again after its TTL', async () => {
  let runs = 0;
  const cache = new TtlCache(async () => ++runs, { ...LONG, ttlMs: 0 });
  await cache.get();
  expect(await cache.get()).toBe(2);
});

test('a failure gives undefined, and is not tried again within the TTL', async () => {
  let runs = 0;
  const cache = new TtlCache(async () => {
    runs += 1;
    throw new Error('away');
  }, LONG);
  expect(await cache.get()).toBeUndefined();
  expect(await cache.get()).toBeUndefined();
  expect(runs).toBe(1);
});

test('a computation that hangs delays no caller, runs once, and its late outcome is kept', async () => {
  const { promise, resolve } = Promise.withResolvers<string>();
  let runs = 0;
  const cache = new TtlCache(() => ((runs += 1), promise), { ttlMs: 60_000, timeoutMs: 1 });
  expect(await cache.get()).toBeUndefined();
  expect(await cache.get()).toBeUndefined();
  resolve('done');
  await promise;
  expect(await cache.get()).toBe('done');
  expect(runs).toBe(1);
});
