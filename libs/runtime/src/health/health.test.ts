import { WaypostError } from '@waypost/contracts';
import { Probe } from './health.js';

const OPTIONS = { code: 'DATABASE_UNAVAILABLE', timeoutMs: 60_000 } as const;

test('however many ask at a time, it is tried once', async () => {
  let tries = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  const probe = new Probe(() => ((tries += 1), promise), OPTIONS);
  const asked = Promise.all(Array.from({ length: 100 }, () => probe.fault()));
  resolve();
  expect(new Set(await asked)).toEqual(new Set([undefined]));
  expect(tries).toBe(1);
  await probe.fault();
  expect(tries).toBe(2);
});

test.each([
  ['an error of PostgreSQL', Object.assign(new Error('secret: role "secret"'), { code: '28P01' }), 'DATABASE_UNAVAILABLE', '28P01'],
  [
    'an error of the network',
    Object.assign(new Error('connect secret:5432'), { code: 'ECONNREFUSED' }),
    'DATABASE_UNAVAILABLE',
    'ECONNREFUSED',
  ],
  [
    'an error of ours',
    new WaypostError('STORAGE_FAILED', { detail: '/secret', cause: Object.assign(new Error('secret'), { code: 'ENOSPC' }) }),
    'STORAGE_FAILED',
    'ENOSPC',
  ],
  ['anything else', new Error('secret'), 'DATABASE_UNAVAILABLE', undefined],
])('%s is told by code and hint, never by its text', async (_what, error, code, state) => {
  const fault = await new Probe(() => Promise.reject(error), OPTIONS).fault();
  expect(fault).toEqual({ code, message: expect.stringMatching(/\S/), hint: expect.stringMatching(/\S/), ...(state ? { state } : {}) });
  expect(JSON.stringify(fault)).not.toContain('secret');
});

test('what does not answer in time is down', async () => {
  const probe = new Probe(() => new Promise(() => undefined), { ...OPTIONS, timeoutMs: 1 });
  expect(await probe.fault()).toMatchObject({ code: 'DATABASE_UNAVAILABLE', message: expect.stringContaining('No answer') });
});
