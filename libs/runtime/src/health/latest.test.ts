import { Latest } from './latest.js';

const PATIENT = { ttlMs: 60_000, timeoutMs: 60_000 };

test('is worked out once for all who ask meanwhile, and kept', async () => {
  let runs = 0;
  const latest = new Latest(async () => ++runs, PATIENT);
  expect(await Promise.all([latest.get(), latest.get()])).toEqual([1, 1]);
  expect(await latest.get()).toBe(1);
});

test('is worked out anew when it is old', async () => {
  let runs = 0;
  const latest = new Latest(async () => ++runs, { ...PATIENT, ttlMs: 0 });
  await latest.get();
  expect(await latest.get()).toBe(2);
});

test('a failure is no value, and is not tried again at once', async () => {
  let runs = 0;
  const latest = new Latest(async () => {
    runs += 1;
    throw new Error('away');
  }, PATIENT);
  expect(await latest.get()).toBeUndefined();
  expect(await latest.get()).toBeUndefined();
  expect(runs).toBe(1);
});

test('nobody waits for work that hangs; there is only one of it, and its outcome is not lost', async () => {
  const { promise, resolve } = Promise.withResolvers<string>();
  let runs = 0;
  const latest = new Latest(() => ((runs += 1), promise), { ttlMs: 60_000, timeoutMs: 1 });
  expect(await latest.get()).toBeUndefined();
  expect(await latest.get()).toBeUndefined();
  resolve('done');
  await promise;
  expect(await latest.get()).toBe('done');
  expect(runs).toBe(1);
});
