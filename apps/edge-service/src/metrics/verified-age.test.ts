import { VerifiedAge } from './verified-age.js';

const DAY_MS = 86_400_000;
const ago = (ms: number): Date => new Date(Date.now() - ms);

test('is unknown before anything was verified', () => {
  const age = new VerifiedAge();
  age.restore(undefined);
  expect(age.ageMs).toBeUndefined();
});

test('goes on over a restart', () => {
  const age = new VerifiedAge();
  age.restore(ago(DAY_MS));
  expect(age.ageMs! / DAY_MS).toBeCloseTo(1, 3);
});

test('is at least that of the process where the stored time lies in the future', () => {
  const age = new VerifiedAge();
  age.restore(ago(-DAY_MS));
  const before = performance.now();
  const ageMs = age.ageMs!;
  expect(ageMs).toBeGreaterThanOrEqual(Math.floor(before));
  expect(ageMs).toBeLessThanOrEqual(Math.ceil(performance.now()));
});

test('what this process verified counts, not what is stored', () => {
  const age = new VerifiedAge();
  age.restore(ago(DAY_MS));
  age.renew();
  age.restore(ago(DAY_MS));
  expect(age.ageMs).toBeLessThan(DAY_MS);
});
