import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pino from 'pino';
import { armFaults, FAULT_POINTS, faultPoint } from './fault-points.js';

const logger = pino({ level: 'silent' });
const arm = (faults: string, env: NodeJS.ProcessEnv = {}): void => armFaults({ ...env, WAYPOST_FAULTS: faults }, logger);

afterEach(() => armFaults({}, logger));

test('nothing is armed by default, and an unarmed point is nothing to wait for', () => {
  arm('');
  expect(faultPoint('edge.before-commit')).toBeUndefined();
});

test('a throw happens at the named point and hit, once, and says who asked for it', async () => {
  arm('edge.mid-copy:throw@2');
  await expect(faultPoint('edge.before-commit')).resolves.toBeUndefined();
  await expect(faultPoint('edge.mid-copy')).resolves.toBeUndefined();
  await expect(faultPoint('edge.mid-copy')).rejects.toMatchObject({
    code: 'FAULT_INJECTED',
    detail: expect.stringContaining('edge.mid-copy'),
  });
  await expect(faultPoint('edge.mid-copy')).resolves.toBeUndefined();
});

test('a full disk looks as node:fs reports it', async () => {
  arm('central.mid-build:disk-full, edge.chunks-received:disk-full');
  await expect(faultPoint('central.mid-build')).rejects.toMatchObject({ code: 'ENOSPC', syscall: 'write' });
  await expect(faultPoint('edge.chunks-received')).rejects.toMatchObject({ code: 'ENOSPC', syscall: 'write' });
});

test('a stall with a length ends by itself', async () => {
  arm('edge.mid-copy:stall:1');
  await expect(faultPoint('edge.mid-copy')).resolves.toBeUndefined();
});

test('what cannot be armed is refused, all of it at once, with the names that can', () => {
  const faults = 'edge.nowhere:kill,edge.mid-copy:explode,edge.mid-copy,edge.mid-copy:kill@0,edge.mid-copy:disk-full,edge.mid-copy:kill:5';
  const refusal: unknown = expect.objectContaining({
    code: 'CONFIG_INVALID',
    detail: expect.stringMatching(
      /no fault point edge\.nowhere; .*no action explode; .*"edge\.mid-copy": must be .*"edge\.mid-copy:kill@0": must be .*no file is written at .*only a stall/,
    ),
    hint: expect.stringMatching(new RegExp(Object.keys(FAULT_POINTS).join(', '))),
  });
  expect(() => arm(faults)).toThrow(refusal as Error);
  expect(faultPoint('edge.mid-copy')).toBeUndefined();
});

test('production refuses whatever is armed', () => {
  expect(() => arm('edge.mid-copy:kill', { NODE_ENV: 'production' })).toThrow(/WAYPOST_FAULTS .*NODE_ENV=production/);
  expect(() => arm('', { NODE_ENV: 'production' })).not.toThrow();
});

test('each declared point is one line of the side that it names', () => {
  const root = join(import.meta.dirname, '..', '..', '..', '..');
  const sides = { central: 'apps/central-api/src', edge: 'apps/edge-service/src' } as const;
  const reached = Object.entries(sides).flatMap(([side, folder]) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
      .flatMap((file) => [...readFileSync(join(root, folder, file), 'utf8').matchAll(/faultPoint\('([^']+)'\)/g)])
      .map(([, point]) => ({ side, point: String(point) })),
  );
  expect(reached.map(({ point }) => point).sort()).toEqual(Object.keys(FAULT_POINTS).sort());
  expect(reached.filter(({ side, point }) => !point.startsWith(`${side}.`))).toEqual([]);
});
