import { toClef } from './clef.js';

const clef = (fields: object): unknown => JSON.parse(toClef(JSON.stringify(fields)) ?? 'null');

test('a line becomes an event with its level, message, ids and the error’s stack', () => {
  expect(
    clef({
      level: 'warn',
      time: '2026-01-02T03:04:05.678Z',
      service: 'edge-service',
      cycleId: 'C',
      trace_id: 't',
      span_id: 's',
      err: { type: 'WaypostError', message: 'no', code: 'CENTRAL_BUSY', stack: 'Error: no\n  at x' },
      msg: 'cycle failed',
    }),
  ).toEqual({
    '@t': '2026-01-02T03:04:05.678Z',
    '@l': 'Warning',
    '@mt': 'cycle failed',
    '@tr': 't',
    '@sp': 's',
    '@x': 'Error: no\n  at x',
    service: 'edge-service',
    cycleId: 'C',
    err: { type: 'WaypostError', message: 'no', code: 'CENTRAL_BUSY' },
  });
});

test('braces in a message are no holes, and names with @ are no fields of Seq', () => {
  expect(clef({ level: 'info', time: 't', msg: 'a {b} c', '@mt': 'forged' })).toEqual({
    '@t': 't',
    '@l': 'Information',
    '@mt': 'a {{b}} c',
    '@@mt': 'forged',
  });
});

test('an event that Seq would refuse for its length loses its properties, not its message', () => {
  const event = clef({ level: 'info', time: 't', service: 'central-api', msg: 'much', filler: 'x'.repeat(200_000) }) as Record<
    string,
    unknown
  >;
  expect(event).toMatchObject({ '@mt': 'much', service: 'central-api' });
  expect(event['truncatedFrom']).toBeGreaterThan(200_000);
  expect(JSON.stringify(event).length).toBeLessThan(2000);
});

test('what is no line of the log is no event', () => {
  expect(toClef('Segmentation fault')).toBeUndefined();
  expect(toClef('"text"')).toBeUndefined();
});
