import { assessFleet } from './assess-fleet.js';
import type { FleetFacts } from './fleet.js';

const HEALTHY: FleetFacts = {
  thresholds: { staleMs: 3_600_000, silentMs: 86_400_000 },
  repeatedFailures: 0,
  heldDevices: 0,
  uncaptured: [],
  clonedDevices: 0,
  devices: { failing: 0, silent: 0, stale: 0, never: 0, fresh: 3 },
  worst: [],
  epoch: 'e',
  sequence: 1,
  liveManifests: 3,
  lastRequestAgeMs: 1000,
  lastRequests: [],
  troubles: [],
  errors: [],
};

test('a healthy fleet has no findings', () => {
  expect(assessFleet(HEALTHY, { url: 'http://c', answers: true, healthy: true, problems: [] }, null)).toEqual([]);
});

test.each<[string, Partial<FleetFacts>, object]>([
  [
    'failing devices',
    { devices: { ...HEALTHY.devices, failing: 2 }, repeatedFailures: 2, errors: [{ code: 'SCHEMA_MISMATCH', devices: 2 }] },
    {
      severity: 'bad',
      what: expect.stringContaining('mostly SCHEMA_MISMATCH'),
      next: expect.stringContaining('Alter it as the detail says'),
    },
  ],
  [
    'a device that failed once',
    { devices: { ...HEALTHY.devices, failing: 1 } },
    { severity: 'warn', what: '1 device failed since the last proof' },
  ],
  ['devices that are held back', { heldDevices: 2 }, { severity: 'bad', what: expect.stringContaining('2 devices held back') }],
  [
    'two machines with one identity',
    { clonedDevices: 1 },
    {
      severity: 'bad',
      what: expect.stringContaining('1 device whose identity is used by two machines'),
      next: expect.stringContaining('waypost device revoke'),
    },
  ],
  [
    'tables whose changes were not captured',
    { uncaptured: ['users'] },
    { severity: 'bad', what: expect.stringContaining('Changes to users'), next: expect.stringContaining('waypost capture trust users') },
  ],
  [
    'silent devices',
    { devices: { ...HEALTHY.devices, silent: 1 } },
    { severity: 'bad', what: '1 device silent: no request for more than 1 d' },
  ],
  ['stale devices', { devices: { ...HEALTHY.devices, stale: 1 } }, { severity: 'warn' }],
  ['devices that never verified', { devices: { ...HEALTHY.devices, never: 1 } }, { severity: 'warn' }],
  [
    'no devices at all',
    { devices: { ...HEALTHY.devices, fresh: 0 }, lastRequestAgeMs: null },
    { severity: 'warn', what: 'No device has ever got a manifest.' },
  ],
  ['a quiet central', { lastRequestAgeMs: 7_200_000 }, { severity: 'bad', what: expect.stringContaining('No device has asked for 2 h') }],
  [
    'failures of central itself',
    { troubles: [{ status: 'Failed', reason: 'DATABASE_UNAVAILABLE', requests: 3, devices: 2 }] },
    { severity: 'bad', what: '3 requests of 2 devices within the last hour: DATABASE_UNAVAILABLE' },
  ],
  ['a busy central', { troubles: [{ status: 'Failed', reason: 'CENTRAL_BUSY', requests: 3, devices: 2 }] }, { severity: 'warn' }],
  [
    'unknown devices',
    { troubles: [{ status: 'Refused', reason: 'DEVICE_UNKNOWN', requests: 3, devices: 1 }] },
    { severity: 'warn', next: expect.stringContaining('Register the device') },
  ],
])('%s are one finding with a next step', (_, facts, expected) => {
  const findings = assessFleet({ ...HEALTHY, ...facts }, null, null);
  expect(findings).toEqual([expect.objectContaining(expected)]);
  expect(findings[0]?.next).toMatch(/\w/);
});

test('a service that is away or not ready, and a store without room, are findings', () => {
  const store = { folder: '/s', bytes: 1, freeBytes: 5, sizeBytes: 100 };
  const away = assessFleet(HEALTHY, { url: 'http://c', answers: false, reason: 'ECONNREFUSED' }, store);
  expect(away.map(({ severity }) => severity)).toEqual(['bad', 'bad']);
  expect(away[1]?.what).toBe('Only 5 % of the snapshot store’s disk is free.');
  const sick = assessFleet(HEALTHY, { url: 'http://c', answers: true, healthy: false, problems: ['database: down'] }, null);
  expect(sick[0]?.what).toBe('central-api is not ready: database: down');
});
