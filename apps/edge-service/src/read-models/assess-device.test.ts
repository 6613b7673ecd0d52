import { assessDevice } from './assess-device.js';
import type { CycleFacts, DeviceStatus, ServiceFacts } from './device-status.js';

const GOOD_CYCLE: CycleFacts = {
  id: '1',
  startedAt: '2026-01-01T00:00:00.000Z',
  status: 'Success',
  durationMs: 1,
  trigger: 'schedule',
  manifestId: null,
  rowsLoaded: 0,
  downloadedBytes: 0,
  error: null,
};
const HEALTHY: DeviceStatus = {
  mac: '02:00:00:00:00:01',
  verified: { manifestId: 'm', sequence: 1, epoch: 'e', at: '2026-01-01T00:00:00.000Z', ageMs: 1000 },
  consecutiveFailures: 0,
  pendingAcks: 0,
  refusedAcks: 0,
  keptRows: 0,
  tables: 1,
  rows: 1,
  cycles: [GOOD_CYCLE],
};
const SERVICE = { url: 'http://e', answers: true, running: false, intervalMs: 60_000, breaker: 'closed', alert: null } as const;

const failed = (code: string): CycleFacts => ({ ...GOOD_CYCLE, status: 'Failed', error: { code, detail: 'why' } });

test('a healthy device has no findings', () => expect(assessDevice(HEALTHY, SERVICE)).toEqual([]));

test('the hint of the very error is the next step', () => {
  const cycle = { ...failed('CENTRAL_REFUSED'), error: { code: 'CENTRAL_REFUSED', detail: 'DEVICE_INACTIVE. Hint: activate it' } };
  expect(assessDevice({ ...HEALTHY, consecutiveFailures: 1, cycles: [cycle] }, null)).toEqual([
    { severity: 'bad', what: 'The last cycle failed: CENTRAL_REFUSED: DEVICE_INACTIVE.', next: 'activate it' },
  ]);
});

test.each<[string, Partial<DeviceStatus>, ServiceFacts | null, object[]]>([
  ['never verified', { verified: null, cycles: [] }, null, [{ severity: 'bad' }]],
  ['one failure that heals by itself', { consecutiveFailures: 1, cycles: [failed('CENTRAL_UNREACHABLE')] }, null, [{ severity: 'warn' }]],
  [
    'three of them',
    { consecutiveFailures: 3, cycles: [failed('CENTRAL_UNREACHABLE')] },
    null,
    [{ severity: 'bad', next: expect.stringContaining('CENTRAL_URL') }],
  ],
  ['one that needs an operator', { consecutiveFailures: 1, cycles: [failed('SCHEMA_MISMATCH')] }, null, [{ severity: 'bad' }]],
  [
    'an old state',
    { verified: { ...HEALTHY.verified!, ageMs: 181_000 } },
    SERVICE,
    [{ severity: 'bad', what: expect.stringContaining('3 min 1 s old') }],
  ],
  [
    'an old state of a device that syncs on demand',
    { verified: { ...HEALTHY.verified!, ageMs: 10 ** 9 } },
    { ...SERVICE, intervalMs: 0 },
    [],
  ],
  ['an open breaker', {}, { ...SERVICE, breaker: 'open' }, [{ severity: 'warn' }]],
  ['an alert', {}, { ...SERVICE, alert: { code: 'LOAD_REFUSED', detail: 'd', hint: 'h' } }, [{ severity: 'bad', next: 'h' }]],
  ['a service that is away', {}, { url: 'http://e', answers: false, reason: 'ECONNREFUSED' }, [{ severity: 'bad' }]],
  ['acks that wait', { pendingAcks: 2 }, null, [{ severity: 'warn' }]],
  ['acks that were refused', { refusedAcks: 1 }, null, [{ severity: 'bad' }]],
])('%s', (_, facts, service, expected) => {
  expect(assessDevice({ ...HEALTHY, ...facts }, service)).toEqual(expected.map((finding): unknown => expect.objectContaining(finding)));
});
