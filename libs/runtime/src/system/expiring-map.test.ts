import { ExpiringMap } from './expiring-map.js';

test('an entry is there until its time is over, and a later one starts its time again', () => {
  const lasting = new ExpiringMap<string, number>({ ttlMs: 3_600_000, maxEntries: 2 });
  lasting.set('a', 1);
  lasting.set('a', 2);
  expect(lasting.get('a')).toBe(2);
  const brief = new ExpiringMap<string, number>({ ttlMs: 0, maxEntries: 2 });
  brief.set('a', 1);
  expect(brief.get('a')).toBeUndefined();
});

test('one entry too many drops the one that was set first', () => {
  const map = new ExpiringMap<string, number>({ ttlMs: 3_600_000, maxEntries: 2 });
  for (const [at, key] of ['a', 'b', 'a', 'c'].entries()) map.set(key, at);
  expect(map.size).toBe(2);
  expect([map.get('a'), map.get('b'), map.get('c')]).toEqual([2, undefined, 3]);
});
