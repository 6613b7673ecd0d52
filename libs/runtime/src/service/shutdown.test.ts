import { signalMeaning } from './shutdown.js';

test('a signal within a second of the first is the same one, a later one asks for an end at once', () => {
  let now = 5000;
  const meaningOf = signalMeaning(() => now);
  expect(meaningOf()).toBe('stop');
  expect(meaningOf()).toBe('same signal');
  now += 999;
  expect(meaningOf()).toBe('same signal');
  now += 1;
  expect(meaningOf()).toBe('end now');
});
